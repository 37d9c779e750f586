#include "edgecompress/generate_command.h"

#include <ostream>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/parallel.h"
#include "edgecompress/error_report.h"
#include "edgecompress/shared_options.h"
#include "llama/config.h"
#include "onnx_export/export_model.h"
#include "ort/beam_search.h"
#include "ort/generation.h"
#include "ort/session.h"
#include "tokenizer/tokenizer.h"

namespace edgecompress::cli {
namespace {

constexpr std::uint64_t kLargestConfig = std::uint64_t{64} << 20;

LlamaConfig artifact_config(const std::filesystem::path& artifact) {
  const std::filesystem::path path = artifact / "config.json";
  return parse_llama_config(read_text_file(path, kLargestConfig), path.string());
}

void refuse_long_text(std::size_t prompt, std::int64_t max_tokens, const LlamaConfig& config) {
  const std::int64_t total = static_cast<std::int64_t>(prompt) + max_tokens;
  if (total <= config.max_position_embeddings) return;
  throw Error(ErrorKind::Usage, "E-WINDOW",
              concat("the prompt's ", prompt, " tokens and --max-tokens ", max_tokens,
                     " pass the model's context of ", config.max_position_embeddings));
}

void refuse_unused_flags(const CLI::App& command, const GenerateOptions& options) {
  if (options.temperature <= 0) {
    refuse_idle_flags(command, {"--top-k", "--top-p", "--seed"},
                      "it is of sampling, which --temperature above 0 asks for");
  } else {
    refuse_idle_flags(command, {"--beams"},
                      "with a --temperature tokens are drawn, not searched for");
  }
}

DecoderSession open_session(const GenerateOptions& options) {
  const std::filesystem::path graph = options.artifact / "model.onnx";
  const OnnxRuntime runtime(find_onnxruntime(options.onnxruntime));
  return {runtime,
          graph,
          {.num_threads = options.threads > 0 ? options.threads : available_threads(),
           .custom_ops_library =
               needs_operator_library(graph) ? find_operator_library() : std::filesystem::path{},
           .config_entries = {{"session.intra_op.allow_spinning", "0"}}}};
}

std::vector<std::int64_t> continued(DecoderSession& session, std::span<const std::int64_t> prompt,
                                    const GenerateOptions& options, const LlamaConfig& config) {
  if (options.beams > 1) {
    return search_beams(session, prompt,
                        {.beams = options.beams,
                         .max_tokens = options.max_tokens,
                         .end_tokens = config.eos_token_ids});
  }
  return generate_tokens(session, prompt,
                         {.max_tokens = options.max_tokens,
                          .temperature = options.temperature,
                          .top_k = options.top_k,
                          .top_p = options.top_p,
                          .seed = options.seed,
                          .end_tokens = config.eos_token_ids});
}

}  // namespace

CLI::App* add_generate(CLI::App& app, GenerateOptions& options) {
  CLI::App* const command = app.add_subcommand(
      "generate", "let an exported artifact continue a prompt, to see that it speaks");
  command->add_option("--artifact", options.artifact, "ONNX folder")->required();
  command->add_option("--prompt", options.prompt, "text to continue")->required();
  command->add_option("--max-tokens", options.max_tokens, "at most so many new tokens")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command
      ->add_option("--temperature", options.temperature,
                   "0: always the most likely token; larger: sample more freely")
      ->check(CLI::Range(0.0, 100.0))
      ->check(kNotNan)
      ->capture_default_str();
  command->add_option("--top-k", options.top_k, "sample from the k most likely tokens; 0: all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command
      ->add_option("--top-p", options.top_p,
                   "sample from the most likely tokens that together have this share")
      ->check(CLI::Range(0.0, 1.0))
      ->check(kNotNan)
      ->capture_default_str();
  command->add_option("--seed", options.seed, "of sampling")->capture_default_str();
  command
      ->add_option("--beams", options.beams,
                   "follow so many of the likeliest continuations at a time, and print the one "
                   "whose tokens are likeliest on average")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command->add_flag("--special-tokens", options.special_tokens,
                    "print begin, end and other special tokens too");
  command->add_option("--threads", options.threads, "threads to use")
      ->check(CLI::Range(1, 1024))
      ->default_str("all");
  command->add_option("--onnxruntime", options.onnxruntime, "ONNX Runtime library to run it with");
  command->add_flag("--json", options.json, "print JSON with the token ids");
  command->footer(
      "Examples:\n"
      "  edgecompress generate --artifact out --prompt \"The old house\"\n"
      "  edgecompress generate --artifact out --prompt \"The old house\" --temperature 0.8 --top-k "
      "40 --seed 7\n"
      "  edgecompress generate --artifact out --prompt \"The old house\" --beams 4");
  command->callback([command, &options] { refuse_unused_flags(*command, options); });
  return command;
}

void run_generate(const GenerateOptions& options, std::ostream& out) {
  const LlamaConfig config = artifact_config(options.artifact);
  const Tokenizer tokenizer = Tokenizer::open(options.artifact);
  const std::vector<std::int32_t> prompt = tokenizer.encode(options.prompt, SpecialTokens::Add);
  if (prompt.empty()) throw Error(ErrorKind::Usage, "F24", "the prompt has no tokens");
  refuse_long_text(prompt.size(), options.max_tokens, config);

  DecoderSession session = open_session(options);
  const std::vector<std::int64_t> ids(prompt.begin(), prompt.end());
  const std::vector<std::int64_t> tokens = continued(session, ids, options, config);
  std::vector<std::int32_t> whole = prompt;
  whole.insert(whole.end(), tokens.begin(), tokens.end());
  if (!options.special_tokens) whole = tokenizer.without_special(whole);
  const std::string text = tokenizer.decode(whole);
  if (options.json) {
    const nlohmann::ordered_json document{
        {"prompt_ids", prompt}, {"generated_ids", tokens}, {"text", text}};
    out << document.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) << "\n";
  } else {
    out << printable(text) << "\n";
  }
}

}  // namespace edgecompress::cli
