#include <filesystem>

#include "cli/command_run.h"
#include "support/catch.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST_CASE("help and version answer on stdout with exit code 0", "[cli]") {
  const TempDir folder;
  for (const char* command : {"",
                              "inspect ",
                              "prune ",
                              "quantize ",
                              "export ",
                              "eval ",
                              "run ",
                              "recover ",
                              "verify ",
                              "plan ",
                              "report ",
                              "diff ",
                              "recipe ",
                              "recipe check ",
                              "recipe explain ",
                              "recipe show ",
                              "recipe init ",
                              "recipe schema ",
                              "recipe lock ",
                              "status ",
                              "limits ",
                              "generate "}) {
    CAPTURE(command);
    const CommandRun help = run_command(std::string(command) + "--help", folder);
    CHECK(help.exit_code == 0);
    CHECK(help.err.empty());
    CHECK(contains(help.out, "--help"));
    if (*command != 0) CHECK(contains(help.out, "Examples:\n  edgecompress "));
  }
  CHECK(run_command("--version", folder).out == "edgecompress " EDGECOMPRESS_VERSION "\n");
}

TEST_CASE("a mistake on the command line exits with 2 and says the nearest name", "[cli]") {
  struct Case {
    const char* arguments;
    const char* words;
  };
  const TempDir folder;
  for (const Case& c : {
           Case{"pruen --model x", "did you mean prune?"},
           Case{"quantize --model x -o y --bitz 4", "did you mean --bits?"},
           Case{"quantize --model x -o y --bits 5", "5"},
           Case{"quantize -o y", "--model"},
           Case{"eval --text t", "exactly one of --model and --artifact"},
           Case{"", "subcommand"},
           Case{"prune --model tests/models/mini-llama -o /tmp/never", "nothing to do"},
           Case{"prune --model tests/models/mini-llama -o /tmp/never --ratio 120%", "20% or 0.2"},
           Case{"prune --model tests/models/mini-llama -o /tmp/never --mask 4:2", "2:4"},
           Case{"export --model x -o y --sparse-from 20%", "--format genai-sparse"},
           Case{"export --model x -o y --format onnx --scale-bits 16", "--format onnx-sparse"},
           Case{"export --model x -o y --format genai-sparse --sparse-from 2", "20% or 0.2"},
           Case{"export --model x -o y --format onnx --accuracy-level 0", "only genai formats"},
           Case{"quantize --model x -o y --damping 0.1", "only --method gptq"},
           Case{"quantize --model x -o y --method awq --no-act-order", "only --method gptq"},
           Case{"quantize --model x -o y --method gptq --hqq-iterations 3", "only --method hqq"},
           Case{"quantize --model x -o y --sensitivity kl", "no grid is chosen"},
           Case{"quantize --model x -o y --rounding gptq", "only --method awq"},
           Case{"quantize --model x -o y --training t", "--qat is never"},
           Case{"prune --model x -o y --heads 20% --target flops", "what --ratio counts"},
           Case{"prune --model x -o y --mask 2:4 --score magnitude-l1", "it is of a cut"},
           Case{"prune --model x -o y --ratio 20% --seed 3", "only --score random"},
           Case{"prune --model x -o y --ratio 20% --mask-method wanda", "it is of a mask"},
           Case{"prune --model x -o y --mask 2:4 --mask-sparsity 40%", "says itself"},
           Case{"prune --model x -o y --ratio 20% --repair-epochs 3", "--repair reconstruction"},
           Case{"prune --model x -o y --mask 2:4 --mask-repair-epochs 3",
                "--mask-repair reconstruction"},
           Case{"prune --model x -o y --drop-layer 1 --drop-score perplexity", "names them"},
           Case{"prune --model x -o y --ratio 20% --protect-first 1", "--allocation per-layer"},
           Case{"recover --model x -o y --training t --block-epochs 3", "no block is trained"},
           Case{"recover --model x -o y --training t --phases blocks --epochs 3",
                "not trained as a whole"},
           Case{"recover --model x -o y --training t --phases blocks --loss kl",
                "not trained as a whole"},
           Case{"prune --model x -o y --mask 1x1", "unstructured, per-row"},
           Case{"prune --model x -o y --mask 2:80", "unstructured, per-row"},
           Case{"prune --model x -o y --mask 512x1", "unstructured, per-row"},
           Case{"generate --artifact x --prompt y --seed 3", "--temperature above 0"},
           Case{"generate --artifact x --prompt y --temperature 1 --beams 2", "not searched for"},
       }) {
    CAPTURE(c.arguments);
    const CommandRun run = run_command(c.arguments, folder);
    CHECK(run.exit_code == 2);
    CHECK(run.out.empty());
    CHECK(contains(run.err, "error["));
    CHECK(contains(run.err, c.words));
  }
}

TEST_CASE("each kind of refusal has its exit code, and nothing is left behind", "[cli]") {
  const TempDir folder;
  const fs::path model = folder.path() / "model";
  fs::copy("" EDGECOMPRESS_SOURCE_DIR "/tests/models/mini-llama", model);
  const std::string out = (folder.path() / "out").string();
  const std::string quantize = "quantize --model " + model.string() + " -o ";

  const CommandRun missing = run_command("quantize --model /no/such/folder -o " + out, folder);
  CHECK(missing.exit_code == 66);

  const CommandRun nested = run_command(quantize + (model / "inside").string(), folder);
  CHECK(nested.exit_code == 2);
  CHECK(contains(nested.err, "O-NESTED"));

  const CommandRun no_parent = run_command(quantize + out + "/a/b", folder);
  CHECK(no_parent.exit_code == 73);

  fs::create_directory(out);
  std::ofstream(out + "/precious.txt") << "mine";
  const CommandRun exists = run_command(quantize + out, folder);
  CHECK(exists.exit_code == 73);
  CHECK(contains(exists.err, "--overwrite"));
  const CommandRun foreign = run_command(quantize + out + " --overwrite", folder);
  CHECK(foreign.exit_code == 73);
  CHECK(file_text(out + "/precious.txt") == "mine");

  fs::resize_file(model / "model.safetensors", 4'000'000);
  const CommandRun truncated = run_command(quantize + out + "2", folder);
  CHECK(truncated.exit_code == 65);
  CHECK(contains(truncated.err, "error[S27]"));

  std::ofstream(model / "config.json")
      << R"({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]})";
  const CommandRun other_model = run_command(quantize + out + "2", folder);
  CHECK(other_model.exit_code == 69);
  CHECK(contains(other_model.err, "GPT2LMHeadModel"));

  for (const fs::directory_entry& entry : fs::directory_iterator(folder.path())) {
    CHECK_FALSE(contains(entry.path().filename().string(), "partial"));
    CHECK_FALSE(contains(entry.path().filename().string(), ".lock"));
  }
}

TEST_CASE("too little text is refused before any weight is read", "[cli]") {
  const TempDir folder;
  const fs::path text = folder.write("short.txt", "Only a few words.");
  const CommandRun run =
      run_command("prune --model tests/models/mini-llama --ratio 20% --calibration " +
                      text.string() + " -o " + (folder.path() / "out").string(),
                  folder);
  CHECK(run.exit_code == 65);
  CHECK(contains(run.err, "error[F24]"));
  const CommandRun none = run_command(
      "prune --model tests/models/mini-llama --ratio 20% -o " + (folder.path() / "out").string(),
      folder);
  CHECK(none.exit_code == 2);
  CHECK(contains(none.err, "--calibration"));
}

TEST_CASE("a run that cannot stay within its memory is refused with the bytes it needs", "[cli]") {
  const TempDir folder;
  const std::string quantize =
      "quantize --model tests/models/mini-llama -o " + (folder.path() / "out").string();
  const CommandRun little = run_command(quantize + " --max-memory 20MiB", folder);
  CHECK(little.exit_code == 71);
  CHECK(contains(little.err, "error[M-BUDGET]"));
  CHECK(contains(little.err, "needs at least 0."));
  CHECK_FALSE(fs::exists(folder.path() / "out.partial"));
  const CommandRun odd = run_command(quantize + " --max-memory lots", folder);
  CHECK(odd.exit_code == 2);
  CHECK(contains(odd.err, "error[U-MEMORY]"));
}

TEST_CASE("a full standard output is an error", "[cli]") {
  const TempDir folder;
  const std::string line = "cd " EDGECOMPRESS_SOURCE_DIR " && " EDGECOMPRESS_PROGRAM
                           " inspect tests/models/mini-llama --json >/dev/full 2>" +
                           (folder.path() / "err").string();
  CHECK(WEXITSTATUS(std::system(line.c_str())) == 74);
}

TEST_CASE("inspect shows a model's shape as JSON", "[cli]") {
  const TempDir folder;
  const CommandRun run = run_command("inspect tests/models/mini-llama --json", folder);
  CHECK(run.exit_code == 0);
  CHECK(contains(run.out, "\"parameters\": 3672320"));
  CHECK(contains(run.out, "\"model.layers.3.mlp.down_proj.weight\""));
}

TEST_CASE("bash completes commands and flags", "[cli]") {
  const TempDir folder;
  const fs::path script = folder.write(
      "complete.sh", "source <(" EDGECOMPRESS_PROGRAM
                     " completion bash)\n"
                     "try() { COMP_WORDS=(edgecompress \"$@\"); COMP_CWORD=$#; _edgecompress;\n"
                     "  echo \"${COMPREPLY[@]}\"; }\n"
                     "try quan\ntry quantize --bi\ntry recipe ch\ntry recipe check --str\n");
  const fs::path out = folder.path() / "out";
  REQUIRE(std::system(("bash " + script.string() + " > " + out.string()).c_str()) == 0);
  CHECK(file_text(out) == "quantize\n--bits\ncheck\n--strict\n");
  CHECK(contains(run_command("completion fish", folder).out,
                 "-n '__fish_seen_subcommand_from quantize' -l bits"));
  CHECK(contains(run_command("completion zsh", folder).out, "#compdef edgecompress"));
}

TEST_CASE("a manual page says what the help says", "[cli]") {
  const TempDir folder;
  const CommandRun page = run_command("man quantize", folder);
  CHECK(page.exit_code == 0);
  CHECK(page.out.starts_with(".TH edgecompress\\-quantize 1"));
  CHECK(contains(page.out, "\\-\\-group\\-size"));
  CHECK(run_command("man no-such", folder).exit_code == 2);
}

}  // namespace
}  // namespace edgecompress
