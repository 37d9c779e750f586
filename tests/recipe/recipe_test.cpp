#include "recipe/recipe.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>

#include "base/error.h"
#include "methods/method_names.h"
#include "support/catch.h"
#include "support/temp_dir.h"

namespace edgecompress {
namespace {

constexpr const char* kFull = R"(# a comment
schema: edgecompress.recipe/v1
name: llama-small
description: >
  Everything at once,
  in two lines
requires: { edgecompress: ">=0.1" }
model:
  model_type: [llama, mistral]
seed: 17
calibration:
  text: ../calibration/edge.txt
  sha256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
  samples: 96
  sequence_length: 384
steps:
  - id: cut
    prune: { score: magnitude-l1, target: flops, ratio: 12.5%, channel_multiple: 16 }
  - id: mask-mlp
    mask: { method: wanda, pattern: "2:4", targets: ["*.mlp.*", "re:.*o_proj"], except: "*.down_proj" }
  - id: quant
    quantize:
      method: rtn
      clip: weight-error
      weights: { bits: 4, group_size: 128, symmetric: false }
      embedding: { skip: true }
      head: { bits: 4, group_size: 32 }
      rules:
        - match: "lm_head"
          skip: true
          optional: true
        - match: ["model.layers.{0,1}.*"]
          except: ["*.up_proj"]
          weights: { bits: 8 }
  - id: artifact
    export: { format: genai, accuracy_level: 1, context_length: 4096 }
evaluate:
  text: texts/test.txt
  protocol: gptq-2048
  window: 256
  max_windows: 40
x-owner: { anything: [goes, 1] }
)";

TEST_CASE("a recipe says what its file says", "[recipe]") {
  const Recipe recipe = parse_recipe(kFull, "recipes/full.ec.yaml");
  CHECK(recipe.name == "llama-small");
  CHECK(recipe.description == "Everything at once, in two lines\n");
  CHECK(recipe.model_types == std::vector<std::string>{"llama", "mistral"});
  CHECK(recipe.seed == 17);
  CHECK(recipe.source_text == kFull);
  CHECK(recipe.source_path == "recipes/full.ec.yaml");

  REQUIRE(recipe.calibration.has_value());
  CHECK(recipe.calibration->text == "calibration/edge.txt");
  CHECK(recipe.calibration->sha256 ==
        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
  CHECK(recipe.calibration->samples == 96);
  CHECK(recipe.calibration->sequence_length == 384);

  REQUIRE(recipe.evaluation.has_value());
  CHECK(recipe.evaluation->text == "recipes/texts/test.txt");
  CHECK(recipe.evaluation->protocol == "gptq-2048");
  CHECK(recipe.evaluation->window == 256);
  CHECK(recipe.evaluation->max_windows == 40);
}

TEST_CASE("steps keep their order, ids and options", "[recipe]") {
  const Recipe recipe = parse_recipe(kFull, "full.ec.yaml");
  REQUIRE(recipe.steps.size() == 4);

  CHECK(recipe.steps[0].id == "cut");
  const StructuredCut& cut = std::get<PruneStep>(recipe.steps[0].action).cut;
  CHECK(std::get<MagnitudeScore>(cut.score).norm == 1);
  CHECK(cut.target == StructuredTarget::Flops);
  CHECK(cut.ratio == 0.125);
  CHECK(cut.channel_multiple == 16);

  CHECK(recipe.steps[1].id == "mask-mlp");
  const auto& mask = std::get<MaskStep>(recipe.steps[1].action);
  CHECK(std::holds_alternative<WandaMask>(mask.method));
  CHECK(mask.pattern == SparsityPattern(NofM{.keep = 2, .of = 4}));
  CHECK(mask.targets.match == std::vector<std::string>{"*.mlp.*", "re:.*o_proj"});
  CHECK(mask.targets.except == std::vector<std::string>{"*.down_proj"});

  CHECK(recipe.steps[2].id == "quant");
  const auto& quantize = std::get<QuantizeStep>(recipe.steps[2].action);
  CHECK(std::get<RtnOptions>(quantize.method).clip == ClipSearch::WeightError);
  CHECK(quantize.weights ==
        QuantScheme{.bits = 4, .group_size = 128, .symmetry = Symmetry::Asymmetric});
  CHECK_FALSE(quantize.embedding.has_value());
  CHECK(quantize.head == QuantScheme{.bits = 4, .group_size = 32, .symmetry = Symmetry::Symmetric});
  REQUIRE(quantize.rules.size() == 2);
  CHECK(quantize.rules[0].targets.match == std::vector<std::string>{"lm_head"});
  CHECK_FALSE(quantize.rules[0].scheme.has_value());
  CHECK(quantize.rules[0].optional);
  CHECK(quantize.rules[1].targets.except == std::vector<std::string>{"*.up_proj"});
  CHECK_FALSE(quantize.rules[1].optional);

  CHECK(recipe.steps[3].id == "artifact");
  const auto& artifact = std::get<ExportStep>(recipe.steps[3].action);
  CHECK(artifact.format == ExportFormat::Genai);
  CHECK(artifact.accuracy_level == 1);
  CHECK(artifact.context_length == 4096);
}

TEST_CASE("a rule takes what it does not say from the step's weights", "[recipe]") {
  const Recipe recipe = parse_recipe(kFull, "full.ec.yaml");
  const auto& quantize = std::get<QuantizeStep>(recipe.steps[2].action);
  CHECK(quantize.rules[1].scheme ==
        QuantScheme{.bits = 8, .group_size = 128, .symmetry = Symmetry::Asymmetric});
}

TEST_CASE("a short recipe gets the documented defaults", "[recipe]") {
  const Recipe recipe = parse_recipe(R"(
schema: edgecompress.recipe/v1
name: short
calibration: { text: c.txt }
evaluate: { text: e.txt }
steps:
  - { id: p, prune: { score: magnitude-l2, ratio: 0.2 } }
  - { id: m, mask: { method: magnitude, pattern: 16x4, sparsity: 30% } }
  - { id: q, quantize: { method: rtn } }
  - { id: e, export: { format: genai } }
)",
                                     "short.ec.yaml");
  CHECK(recipe.seed == 0);
  CHECK(recipe.model_types.empty());
  CHECK_FALSE(recipe.calibration->sha256.has_value());
  CHECK(recipe.calibration->samples == 128);
  CHECK(recipe.calibration->sequence_length == 512);
  CHECK(recipe.evaluation->protocol == "gptq-2048");
  CHECK(recipe.evaluation->window == 2048);
  CHECK_FALSE(recipe.evaluation->max_windows.has_value());
  const StructuredCut& cut = std::get<PruneStep>(recipe.steps[0].action).cut;
  CHECK(std::get<MagnitudeScore>(cut.score).norm == 2);
  CHECK(cut.target == StructuredTarget::Parameters);
  CHECK(cut.channel_multiple == 32);
  const auto& mask = std::get<MaskStep>(recipe.steps[1].action);
  CHECK(mask.pattern == SparsityPattern(Blocks{.rows = 16, .columns = 4, .sparsity = 0.3}));
  CHECK(mask.targets.match == std::vector<std::string>{"*"});
  const auto& quantize = std::get<QuantizeStep>(recipe.steps[2].action);
  CHECK(std::get<RtnOptions>(quantize.method).clip == ClipSearch::None);
  CHECK(quantize.weights ==
        QuantScheme{.bits = 4, .group_size = 64, .symmetry = Symmetry::Symmetric});
  CHECK(quantize.embedding ==
        QuantScheme{.bits = 8, .group_size = 0, .symmetry = Symmetry::Symmetric});
  CHECK(quantize.head == QuantScheme{.bits = 8, .group_size = 0, .symmetry = Symmetry::Symmetric});
  const auto& artifact = std::get<ExportStep>(recipe.steps[3].action);
  CHECK(artifact.format == ExportFormat::Genai);
  CHECK(artifact.accuracy_level == 4);
  CHECK(artifact.context_length == 0);
}

TEST_CASE("a sparse export reads its own keys", "[recipe]") {
  const auto read = [](const std::string& body) {
    const Recipe recipe = parse_recipe(
        concat("schema: edgecompress.recipe/v1\nname: sparse\nsteps:\n  - { id: e, export: { ",
               body, " } }\n"),
        "sparse.ec.yaml");
    return std::get<ExportStep>(recipe.steps[0].action);
  };
  const ExportStep plain = read("format: genai-sparse");
  CHECK(plain.format == ExportFormat::GenaiSparse);
  CHECK_FALSE(plain.sparse_from.has_value());
  CHECK(plain.scale_bits == 32);
  const ExportStep chosen = read("format: onnx-sparse, sparse_from: 20%, scale_bits: 16");
  CHECK(chosen.format == ExportFormat::OnnxSparse);
  CHECK(chosen.sparse_from == 0.2);
  CHECK(chosen.scale_bits == 16);
}

std::string with_calibration(const std::string& steps) {
  return "schema: edgecompress.recipe/v1\nname: r\nseed: 5\n"
         "calibration: { text: c.txt, sequence_length: 96 }\nsteps:\n" +
         steps;
}

TEST_CASE("a recover step takes what it does not say from the calibration and the defaults",
          "[recipe]") {
  const Recipe recipe = parse_recipe(
      with_calibration("- { id: m, mask: { method: magnitude, pattern: \"2:4\" } }\n"
                       "- { id: a, recover: { train: weights, loss: cross-entropy, epochs: 2, "
                       "batch: 3, learning_rate: 0.0002, scale_learning_rate: 0.5%, held_out: 25%, "
                       "gate: 2%, samples: 40, phases: both, block_epochs: 4, "
                       "block_batch: 2, code_learning_rate: 0.004, block_code_learning_rate: 3%, "
                       "block_learning_rate: 0.0003, block_scale_learning_rate: 0.2% } }\n"),
      "folder/r.ec.yaml");
  const auto& step = std::get<RecoverStep>(recipe.steps.at(1).action);
  CHECK(step.text.text == "folder/c.txt");
  CHECK(step.text.sequence_length == 96);
  CHECK(step.text.samples == 40);
  CHECK(step.gate == 0.02);
  CHECK(step.choice.part == TrainedPart::Weights);
  CHECK(step.choice.loss == TrainingLoss::CrossEntropy);
  CHECK(step.choice.options.zeros == ZeroWeights::Keep);  // there is a mask
  CHECK(step.choice.options.phases == TrainingPhases::Both);
  CHECK(step.choice.options.blocks.epochs == 4);
  CHECK(step.choice.options.blocks.batch == 2);
  CHECK(step.choice.options.blocks.learning_rate == 0.0003);
  CHECK(step.choice.options.blocks.code_learning_rate == 0.03);
  CHECK(step.choice.options.blocks.scale_learning_rate == 0.002);
  CHECK(step.choice.options.epochs == 2);
  CHECK(step.choice.options.batch == 3);
  CHECK(step.choice.options.learning_rate == 0.0002);
  CHECK(step.choice.options.code_learning_rate == 0.004);
  CHECK(step.choice.options.scale_learning_rate == 0.005);
  CHECK(step.choice.options.held_out_share == 0.25);
  CHECK(step.choice.options.seed == 5);

  const Recipe other = parse_recipe(
      with_calibration("- { id: a, recover: { text: ../t.txt, sequence_length: 64 } }\n"),
      "folder/r.ec.yaml");
  const auto& defaults = std::get<RecoverStep>(other.steps.at(0).action);
  CHECK(defaults.text.text == "t.txt");
  CHECK(defaults.text.sequence_length == 64);
  CHECK_FALSE(defaults.text.samples.has_value());
  CHECK_FALSE(defaults.gate.has_value());
  CHECK_FALSE(defaults.choice.part.has_value());
  CHECK(defaults.choice.options.zeros == ZeroWeights::Free);
  CHECK(defaults.choice.options.epochs == TrainingOptions{}.epochs);
}

TEST_CASE("qat is a recover step behind the quantize step, with a gate when auto", "[recipe]") {
  const auto steps_of = [](const std::string& qat) {
    return parse_recipe(
               with_calibration("- { id: q, quantize: { method: rtn, qat: " + qat + " } }\n"), "r")
        .steps;
  };
  CHECK(steps_of("never").size() == 1);
  REQUIRE(steps_of("auto").size() == 2);
  CHECK(steps_of("auto")[1].id == "q-qat");
  CHECK(std::get<RecoverStep>(steps_of("auto")[1].action).gate == 0.01);
  CHECK_FALSE(std::get<RecoverStep>(steps_of("always")[1].action).gate.has_value());
  const auto phases_of = [&](const std::string& qat) {
    return std::get<RecoverStep>(steps_of(qat)[1].action).choice.options.phases;
  };
  CHECK(phases_of("always") == TrainingOptions{}.phases);
  CHECK(phases_of("always, qat_phases: blocks") == TrainingPhases::Blocks);
  const auto activations_of = [&](const std::string& qat) {
    return std::get<RecoverStep>(steps_of(qat)[1].action).choice.options.activations;
  };
  CHECK_FALSE(activations_of("always").has_value());
  CHECK(activations_of("always, qat_activations: int8-per-block") ==
        ActivationRounding::Int8PerBlock);
}

TEST_CASE("the same recipe as JSON reads the same", "[recipe]") {
  const Recipe recipe = parse_recipe(
      R"({"schema":"edgecompress.recipe/v1","name":"json","seed":3,
"calibration":{"text":"a\/b.txt","samples":7},
"steps":[{"id":"m","mask":{"method":"wanda","pattern":"unstructured","sparsity":0.4}},
{"id":"q","quantize":{"method":"rtn","weights":{"bits":8,"group_size":"channel","symmetric":false}}}]})",
      "r.json");
  CHECK(recipe.name == "json");
  CHECK(recipe.seed == 3);
  CHECK(recipe.calibration->text == "a/b.txt");
  CHECK(recipe.calibration->samples == 7);
  CHECK(std::get<MaskStep>(recipe.steps[0].action).pattern ==
        SparsityPattern(Unstructured{.sparsity = 0.4}));
  CHECK(std::get<QuantizeStep>(recipe.steps[1].action).weights ==
        QuantScheme{.bits = 8, .group_size = 0, .symmetry = Symmetry::Asymmetric});
}

TEST_CASE("every mask pattern has its text", "[recipe]") {
  const std::string before =
      "schema: edgecompress.recipe/v1\nname: p\nsteps:\n- id: m\n  mask: {method: magnitude, ";
  const std::map<std::string, SparsityPattern> patterns{
      {"pattern: unstructured, sparsity: 15%", Unstructured{.sparsity = 0.15}},
      {"pattern: per-row, sparsity: 0.25", PerRow{.sparsity = 0.25}},
      {"pattern: 1:4", NofM{.keep = 1, .of = 4}},
      {"pattern: \"4:8\"", NofM{.keep = 4, .of = 8}},
      {"pattern: 16x1, sparsity: \"35%\"", Blocks{.rows = 16, .columns = 1, .sparsity = 0.35}},
      {"pattern: 1x256, sparsity: 5e-1", Blocks{.rows = 1, .columns = 256, .sparsity = 0.5}},
  };
  for (const auto& [text, pattern] : patterns) {
    INFO(text);
    const Recipe recipe = parse_recipe(before + text + "}\n", "p.ec.yaml");
    CHECK(std::get<MaskStep>(recipe.steps.at(0).action).pattern == pattern);
  }
}

TEST_CASE("Windows line ends change nothing", "[recipe]") {
  std::string text;
  for (const char* c = kFull; *c != 0; ++c)
    text += *c == '\n' ? std::string("\r\n") : std::string(1, *c);
  const Recipe recipe = parse_recipe(text, "full.ec.yaml");
  CHECK(recipe.steps.size() == 4);
  CHECK(recipe.description == "Everything at once, in two lines\n");
}

TEST_CASE("a recipe is read from a file and its texts are beside it", "[recipe]") {
  const TempDir folder;
  const std::filesystem::path file = folder.write("recipes/full.ec.yaml", kFull);
  CHECK(read_recipe(file).calibration->text == folder.path() / "calibration/edge.txt");
}

TEST_CASE("a recipe that does not exist is never taken for recipe text", "[recipe]") {
  const TempDir folder;
  folder.write("small.ec.yaml", kFull);
  try {
    read_recipe(folder.path() / "smal.ec.yaml");
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::Missing);
    CHECK(error.code() == "R1");
    CHECK_THAT(error.what(),
               Catch::Matchers::Contains("does not exist; did you mean `small.ec.yaml`?"));
  }
  CHECK_THROWS_AS(read_recipe(folder.path()), Error);
}

TEST_CASE("the recipes that come with the program are legal", "[recipe]") {
  int num_recipes = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(EDGECOMPRESS_SOURCE_DIR "/recipes")) {
    if (!entry.path().string().ends_with(".ec.yaml")) continue;
    INFO(entry.path());
    ++num_recipes;
    const Recipe recipe = read_recipe(entry.path());
    CHECK(entry.path().filename() == recipe.name + ".ec.yaml");
  }
  CHECK(num_recipes > 0);
}

TEST_CASE("the example of the documentation is a recipe", "[recipe]") {
  std::ifstream file(EDGECOMPRESS_SOURCE_DIR "/docs/recipe-format.md");
  const std::string page{std::istreambuf_iterator<char>(file), {}};
  const std::string fence = "```yaml\n";
  const std::size_t start = page.find(fence);
  REQUIRE(start != std::string::npos);
  const std::size_t first = start + fence.size();
  const Recipe recipe =
      parse_recipe(page.substr(first, page.find("```", first) - first), "docs.ec.yaml");
  CHECK(recipe.steps.size() == 3);
}

TEST_CASE("recipes spell methods as reports do", "[recipe]") {
  const std::string head =
      "schema: edgecompress.recipe/v1\nname: r\ncalibration: {text: c}\nsteps: ";
  for (const MaskMethod& method : {MaskMethod(MagnitudeMask{}), MaskMethod(WandaMask{})}) {
    const std::string name(method_name(method));
    const Recipe recipe =
        parse_recipe(head + "[{id: m, mask: {pattern: 2:4, method: " + name + "}}]\n", "r");
    CHECK(std::get<MaskStep>(recipe.steps.at(0).action).method.index() == method.index());
  }
  for (const QuantizeMethod& method :
       {QuantizeMethod(RtnOptions{}), QuantizeMethod(GptqOptions{}), QuantizeMethod(HqqOptions{}),
        QuantizeMethod(AwqOptions{}), QuantizeMethod(SmoothQuantOptions{})}) {
    const std::string name(method_name(method));
    const Recipe recipe = parse_recipe(
        head + "[{id: q, quantize: {activations: int8-per-token, method: " + name + "}}]\n", "r");
    CHECK((std::get<QuantizeStep>(recipe.steps.at(0).action).activations ==
           ActivationRounding::Int8PerToken));
    CHECK(std::get<QuantizeStep>(recipe.steps.at(0).action).method.index() == method.index());
  }
  for (const StructuredScore& score :
       {StructuredScore(ActivationScore{}), StructuredScore(OutputErrorScore{}),
        StructuredScore(FluctuationScore{}), StructuredScore(RandomScore{}),
        StructuredScore(TaylorScore{})}) {
    const std::string name(method_name(score));
    const Recipe cut =
        parse_recipe(head + "[{id: p, prune: {ratio: 10%, score: " + name + "}}]\n", "r");
    CHECK(std::get<PruneStep>(cut.steps.at(0).action).cut.score.index() == score.index());
  }
}

TEST_CASE("heads and channels are cut by shares of their own, random ones by the recipe's seed",
          "[recipe]") {
  const std::string head = "schema: edgecompress.recipe/v1\nname: r\nseed: 41\n";
  const Recipe recipe = parse_recipe(
      head + "steps: [{id: p, prune: {score: random, heads: 25%, repair: none}}]\n", "r");
  const StructuredCut& cut = std::get<PruneStep>(recipe.steps.at(0).action).cut;
  CHECK(std::get<RandomScore>(cut.score).seed == 41);
  REQUIRE(cut.parts.has_value());
  CHECK(cut.parts->kv_groups == 0.25);
  CHECK(cut.parts->channels == 0);
  const Recipe dense = parse_recipe(head +
                                        "calibration: {text: c}\nsteps: [{id: p, prune: {score: "
                                        "random, channels: 0.2, repair: dense-outputs}}]\n",
                                    "r");
  const StructuredCut& repaired = std::get<PruneStep>(dense.steps.at(0).action).cut;
  CHECK(repaired.repair == CutRepair::DenseOutputs);
  CHECK(repaired.parts->channels == 0.2);
  CHECK(repaired.parts->kv_groups == 0);
}

TEST_CASE("heads are listed by block, and query heads cut inside groups", "[recipe]") {
  const std::string head = "schema: edgecompress.recipe/v1\nname: r\n";
  const auto cut_of = [&](const std::string& prune) {
    return std::get<PruneStep>(parse_recipe(head + "steps: [{id: p, prune: " + prune + "}]\n", "r")
                                   .steps.at(0)
                                   .action)
        .cut;
  };
  const StructuredCut listed = cut_of("{heads_to_prune: {0: [0, 1], 11: 3}}");
  CHECK(listed.heads_to_prune == HeadLists{{0, {0, 1}}, {11, {3}}});
  CHECK_FALSE(listed.parts.has_value());
  const StructuredCut queries = cut_of("{score: magnitude-l2, query_heads: 50%, channels: 10%}");
  CHECK(queries.parts->query_heads == 0.5);
  CHECK(queries.parts->channels == 0.1);
  struct Lie {
    std::string_view prune;
    std::string_view words;
  };
  const auto lie =
      GENERATE(Lie{"{heads_to_prune: {0: [0]}, heads: 25%}", "heads beside heads_to_prune"},
               Lie{"{heads_to_prune: {0: [0]}, ratio: 25%}", "ratio beside heads, query_heads"},
               Lie{"{heads_to_prune: {0: [0]}, channels: 25%}", "key `score` is missing in prune"},
               Lie{"{ratio: 25%}", "key `score` is missing in prune"},
               Lie{"{heads_to_prune: {first: [0]}}", "found the key `first`"},
               Lie{"{heads_to_prune: [0, 1]}", "must be a map of decoder blocks and their heads"},
               Lie{"{heads_to_prune: {0: [x]}}", "must be an integer"},
               Lie{"{heads_to_prune: {0: [-1]}}", "from 0 to 9999"},
               Lie{"{score: magnitude-l2, ratio: 5%, repair_epochs: 2}",
                   "repair_epochs without repair: reconstruction"});
  CHECK_THROWS_WITH(cut_of(std::string(lie.prune)),
                    Catch::Matchers::Contains(std::string(lie.words)));
}

TEST_CASE("a reconstruction has its own keys and the recipe's seed", "[recipe]") {
  const Recipe recipe = parse_recipe(
      "schema: edgecompress.recipe/v1\nname: r\nseed: 5\ncalibration: {text: c}\nsteps: [{id: p, "
      "prune: {score: output-error, ratio: 20%, repair: reconstruction, repair_epochs: 7, "
      "repair_learning_rate: 0.001}}]\n",
      "r");
  const StructuredCut& cut = std::get<PruneStep>(recipe.steps.at(0).action).cut;
  CHECK(cut.repair == CutRepair::Reconstruction);
  CHECK(cut.reconstruction.epochs == 7);
  CHECK(cut.reconstruction.learning_rate == 0.001);
  CHECK(cut.reconstruction.seed == 5);
  const Recipe masked = parse_recipe(
      "schema: edgecompress.recipe/v1\nname: r\nseed: 6\ncalibration: {text: c}\nsteps: [{id: m, "
      "mask: {method: sparsegpt, pattern: 16x1, sparsity: 40%, allocation: loss, repair: "
      "reconstruction, repair_epochs: 2}}]\n",
      "r");
  const auto& mask = std::get<MaskStep>(masked.steps.at(0).action);
  CHECK(mask.repair == MaskRepair::Reconstruction);
  CHECK(mask.allocation == MaskAllocation::Loss);
  CHECK(mask.reconstruction.epochs == 2);
  CHECK(mask.reconstruction.learning_rate == ReconstructionOptions{}.learning_rate);
  CHECK(mask.reconstruction.seed == 6);
}

TEST_CASE("layers are left out by number or by name, and ratios spread over blocks", "[recipe]") {
  const std::string head =
      "schema: edgecompress.recipe/v1\nname: r\ncalibration: {text: c}\nsteps:\n";
  const Recipe recipe = parse_recipe(
      head +
          "- {id: d, drop_layers: {layers: [5, 2]}}\n"
          "- {id: p, prune: {score: activation, ratio: 20%, allocation: per-layer, protect_first: "
          "1, protect_last: 2}}\n"
          "- {id: m, mask: {method: wanda, pattern: 16x1, sparsity: 30%, allocation: outliers, "
          "spread: 5%}}\n",
      "r");
  CHECK(std::get<DropLayersStep>(recipe.steps.at(0).action).layers ==
        std::vector<std::int64_t>{2, 5});
  const StructuredCut& cut = std::get<PruneStep>(recipe.steps.at(1).action).cut;
  CHECK((cut.allocation == CutAllocation::PerLayer));
  CHECK(cut.protect_first == 1);
  CHECK(cut.protect_last == 2);
  const auto& mask = std::get<MaskStep>(recipe.steps.at(2).action);
  CHECK((mask.allocation == MaskAllocation::Outliers));
  CHECK(mask.spread == 0.05);
  const Recipe one = parse_recipe(head + "- {id: d, drop_layers: {count: 3}}\n", "r");
  CHECK(std::get<DropLayersStep>(one.steps.at(0).action).count == 3);
  CHECK((std::get<DropLayersStep>(one.steps.at(0).action).score == LayerScore::Influence));
  const Recipe worth =
      parse_recipe(head + "- {id: d, drop_layers: {count: 3, score: perplexity}}\n", "r");
  CHECK((std::get<DropLayersStep>(worth.steps.at(0).action).score == LayerScore::Perplexity));
  const Recipe single = parse_recipe(head + "- {id: d, drop_layers: {layers: 3}}\n", "r");
  CHECK(std::get<DropLayersStep>(single.steps.at(0).action).layers == std::vector<std::int64_t>{3});
}

}  // namespace
}  // namespace edgecompress
