#include "recipe/recipe.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/suggest.h"
#include "methods/method_names.h"
#include "recipe/document.h"
#include "recipe/language.h"
#include "recipe/mask_pattern.h"
#include "recipe/node.h"
#include "recipe/problems.h"
#include "recipe/yaml_text.h"

namespace edgecompress {
namespace {

constexpr std::uint64_t kSizeLimit = std::uint64_t{1} << 20;

std::filesystem::path resolved(const std::filesystem::path& recipe, const std::string& text) {
  return (recipe.parent_path() / text).lexically_normal();
}

/// Turns a tree that check_shape() has seen into steps and adds what only shows across keys.
class StepReader {
 public:
  /// recipe: its calibration, seed and path are read already.
  StepReader(Problems& problems, const Recipe& recipe)
      : problems_(problems), recipe_(recipe), has_calibration_(recipe.calibration.has_value()) {}

  std::vector<Step> read(const YamlNode& steps) {
    std::vector<Step> out;
    for (const YamlNode& item : steps.items) {
      const ObjectReader step(&item);
      Step read{.id = step.text("id", ""), .action = {}};
      if (step.has("id")) check_id(read.id, step.at("id"));
      if (!read_action(step, item.at, read)) continue;
      out.push_back(std::move(read));
      if (step.has("quantize")) add_qat(step.object("quantize"), out);
    }
    if (open_repair_) refuse_open_repair(*open_repair_);
    return out;
  }

 private:
  void contradiction(const SourceSpan& at, std::string message, std::string hint) {
    problems_.add({"R17", std::move(message), at, std::move(hint), {}});
  }

  void check_id(const std::string& id, const SourceSpan& at) {
    const auto [earlier, fresh] = ids_.emplace(id, at);
    if (fresh) return;
    problems_.add({"R5",
                   concat("two steps have the id ", backquoted(id), ", in lines ",
                          earlier->second.line, " and ", at.line),
                   at,
                   concat("first in line ", earlier->second.line),
                   {}});
  }

  bool read_action(const ObjectReader& step, const SourceSpan& step_at, Step& out) {
    std::vector<std::string_view> named;
    for (const std::string_view key :
         {"drop_layers", "prune", "mask", "quantize", "recover", "export"}) {
      if (step.has(key)) named.push_back(key);
    }
    if (named.empty() && step.has_other_keys("id"))
      return false;  // a misspelt action, reported already
    if (named.empty()) {
      problems_.add({"R23",
                     "a step must have one of drop_layers, prune, mask, quantize, recover, export",
                     step_at,
                     {},
                     {}});
      return false;
    }
    if (named.size() > 1) {
      contradiction(step.at(named[1]),
                    concat("a step must have one action, found ", named[0], " and ", named[1]),
                    "make this a step of its own");
      return false;
    }
    const ObjectReader body = step.object(named[0]);
    check_order(named[0], step.at(named[0]));
    const std::optional<SourceSpan> waiting = std::exchange(open_repair_, std::nullopt);
    if (named[0] == "drop_layers") out.action = read_drop_layers(body, step.at("drop_layers"));
    if (named[0] == "prune") out.action = read_prune(body);
    if (named[0] == "mask") out.action = read_mask(body);
    if (named[0] == "quantize") out.action = read_quantize(body);
    if (named[0] == "recover") out.action = read_recover(body, step.at("recover"));
    if (named[0] == "export") out.action = read_export(body);
    const auto* const quantize = std::get_if<QuantizeStep>(&out.action);
    if (waiting &&
        (quantize == nullptr || !std::holds_alternative<GptqOptions>(quantize->method))) {
      refuse_open_repair(*waiting);
    }
    return true;
  }

  void refuse_open_repair(const SourceSpan& at) {
    contradiction(at, "repair: with-rounding without gptq right behind the mask",
                  "its pass makes up for the dropped weights: add `quantize: {method: gptq}` as "
                  "the next step, or use least-squares");
  }

  /// drop_layers once, then prune, then mask, then quantize once, then recover once, then export
  /// once: the only order in which no step undoes an earlier one.
  void check_order(std::string_view action, const SourceSpan& at) {
    if (exported_) {
      contradiction(
          at, concat(action == "export" ? "a second export" : concat(action, " after export")),
          "export must be the last step");
    } else if (recovered_ && action != "export") {
      contradiction(at,
                    action == "recover" ? "a second recover step, or one beside qat"
                                        : concat(action, " after recover"),
                    "recover trains what is exported: it comes last before export");
    } else if (quantized_ && action == "quantize") {
      contradiction(at, "a second quantize step", "use rules for weights that need another grid");
    } else if (quantized_ && action != "export" && action != "recover") {
      contradiction(at, concat(action, " after quantize"),
                    "quantize must come after prune and mask");
    } else if (action == "drop_layers" && (pruned_ || masked_ || dropped_)) {
      contradiction(at, concat("drop_layers after ", dropped_ ? "drop_layers" : "prune or mask"),
                    "name all layers in one step, the first");
    } else if (masked_ && action == "prune") {
      contradiction(at, "prune after mask",
                    "a cut shifts columns and breaks the mask's pattern: prune first");
    }
    exported_ = exported_ || action == "export";
    quantized_ = quantized_ || action == "quantize";
    masked_ = masked_ || action == "mask";
    pruned_ = pruned_ || action == "prune";
    dropped_ = dropped_ || action == "drop_layers";
    recovered_ = recovered_ || action == "recover";
  }

  void check_calibration(CalibrationNeed need, const ObjectReader& body, std::string_view key) {
    const YamlNode* const value = body.find(key);
    if (value == nullptr || has_calibration_ || need == CalibrationNeed::None) return;
    contradiction(value->at, concat(key, " ", backquoted(value->text), " needs calibration text"),
                  "add `calibration: {text: ...}` to the recipe");
  }

  template <typename Repair>
  static Repair read_repair(const ObjectReader& body) {
    const std::string repair = body.text("repair", "none");
    return repair == "least-squares"    ? Repair::LeastSquares
           : repair == "dense-outputs"  ? Repair::DenseOutputs
           : repair == "reconstruction" ? Repair::Reconstruction
                                        : Repair::None;
  }

  ReconstructionOptions read_reconstruction(const ObjectReader& body) {
    ReconstructionOptions options;
    options.epochs = body.integer("repair_epochs", options.epochs);
    options.learning_rate = body.share("repair_learning_rate", options.learning_rate);
    options.seed = recipe_.seed;
    for (const std::string_view key : {"repair_epochs", "repair_learning_rate"}) {
      if (!body.has(key) || body.text("repair", "") == "reconstruction") continue;
      contradiction(body.at(key), concat(key, " without repair: reconstruction"),
                    "only a reconstruction trains: delete this key, or add `repair: "
                    "reconstruction`");
    }
    return options;
  }

  void read_amount(const ObjectReader& body, StructuredCut& cut) {
    cut.target = structured_target_of_name(body.text("target", "parameters")).value_or(cut.target);
    cut.ratio = body.share("ratio", cut.ratio);
    cut.heads_to_prune = body.head_lists("heads_to_prune");
    const bool by_lists = body.has("heads_to_prune");
    if (body.has("heads") || body.has("query_heads") || body.has("channels")) {
      cut.parts = PartShares{.kv_groups = body.share("heads", 0),
                             .channels = body.share("channels", 0),
                             .query_heads = body.share("query_heads", 0)};
    }
    const bool by_parts = cut.parts || by_lists;
    for (const std::string_view key : {"ratio", "target"}) {
      if (by_parts && body.has(key)) {
        contradiction(body.at(key),
                      concat(key, " beside heads, query_heads, channels or heads_to_prune"),
                      "these name what to remove of each part: delete this key");
      }
    }
    for (const std::string_view key : {"heads", "query_heads"}) {
      if (by_lists && body.has(key)) {
        contradiction(body.at(key), concat(key, " beside heads_to_prune"),
                      "the lists say which heads go: delete this key");
      }
    }
    if (!body.has("score") && (!by_lists || body.has("channels"))) {
      problems_.add({"R23",
                     "key `score` is missing in prune",
                     body.at("prune"),
                     {},
                     {"only heads_to_prune goes without: it names the heads itself"}});
    }
    if (!by_parts && !body.has("ratio")) {
      problems_.add({"R23",
                     "key `ratio` is missing in prune",
                     body.at("score"),
                     {},
                     {"give `ratio`, or `heads`, `query_heads` and `channels` apart"}});
    }
  }

  void refuse_without_text(const ObjectReader& body, std::string_view key) {
    if (has_calibration_) return;
    contradiction(body.at(key), concat(key, " is decided on calibration text"),
                  "add `calibration: {text: ...}` to the recipe");
  }

  DropLayersStep read_drop_layers(const ObjectReader& body, const SourceSpan& at) {
    DropLayersStep step{.layers = body.integers("layers"), .count = body.integer("count", 0)};
    if (body.has("count") == body.has("layers")) {
      contradiction(at, "drop_layers needs either count or layers", "give one of them");
    }
    if (body.has("count")) refuse_without_text(body, "count");
    if (body.text("score", "") == "perplexity") step.score = LayerScore::Perplexity;
    if (body.has("score") && body.has("layers")) {
      contradiction(body.at("score"), "score beside layers",
                    "these name the blocks that go: delete this key");
    }
    std::sort(step.layers.begin(), step.layers.end());
    const auto twice = std::adjacent_find(step.layers.begin(), step.layers.end());
    if (twice != step.layers.end()) {
      contradiction(body.at("layers"), concat("layer ", *twice, " is named twice"), "name it once");
    }
    return step;
  }

  void read_cut_allocation(const ObjectReader& body, StructuredCut& cut) {
    cut.protect_first = body.integer("protect_first", 0);
    cut.protect_last = body.integer("protect_last", 0);
    if (body.text("allocation", "") == "per-layer") {
      cut.allocation = CutAllocation::PerLayer;
      refuse_without_text(body, "allocation");
      for (const std::string_view key : {"query_heads", "heads_to_prune"}) {
        if (!body.has(key)) continue;
        contradiction(body.at("allocation"), concat("allocation: per-layer beside ", key),
                      "it decides how many KV groups and channels each block keeps: delete one of "
                      "the two");
      }
      return;
    }
    for (const std::string_view key : {"protect_first", "protect_last"}) {
      if (!body.has(key)) continue;
      contradiction(body.at(key), concat(key, " without allocation: per-layer"),
                    "a uniform cut takes the same from every block");
    }
  }

  void read_mask_allocation(const ObjectReader& body, MaskStep& step) {
    step.spread = body.share("spread", step.spread);
    const std::string allocation = body.text("allocation", "uniform");
    if (allocation == "outliers") step.allocation = MaskAllocation::Outliers;
    if (allocation == "loss") step.allocation = MaskAllocation::Loss;
    if (allocation != "outliers" && body.has("spread")) {
      contradiction(body.at("spread"), "spread without allocation: outliers", "delete this key");
    }
    if (step.allocation == MaskAllocation::Uniform) return;
    refuse_without_text(body, "allocation");
    if (!std::holds_alternative<NofM>(step.pattern)) return;
    contradiction(body.at("allocation"),
                  concat("allocation: ", allocation, " beside an N:M pattern"),
                  "N:M has one sparsity: delete this key");
  }

  PruneStep read_prune(const ObjectReader& body) {
    StructuredCut cut{.score = read_structured_score(body)};
    cut.repair = default_repair(cut.score);
    if (body.has("repair")) cut.repair = read_repair<CutRepair>(body);
    cut.reconstruction = read_reconstruction(body);
    const bool by_repair = calibration_need({.score = cut.score}) == CalibrationNeed::None;
    check_calibration(calibration_need(cut), body, by_repair ? "repair" : "score");
    if (auto* const random = std::get_if<RandomScore>(&cut.score)) random->seed = recipe_.seed;
    read_amount(body, cut);
    cut.channel_multiple = body.integer("channel_multiple", cut.channel_multiple);
    read_cut_allocation(body, cut);
    return {cut};
  }

  MaskStep read_mask(const ObjectReader& body) {
    MaskStep step{.method = read_mask_method(body), .pattern = {}};
    step.repair = read_repair<MaskRepair>(body);
    if (body.text("repair", "") == "with-rounding") {
      step.repair = MaskRepair::WithRounding;
      open_repair_ = body.at("repair");
    }
    step.reconstruction = read_reconstruction(body);
    const bool by_repair = calibration_need(step.method, MaskRepair::None) == CalibrationNeed::None;
    check_calibration(calibration_need(step.method, step.repair), body,
                      by_repair ? "repair" : "method");
    const std::string pattern = body.text("pattern", "");
    step.pattern =
        parse_mask_pattern(pattern, body.share("sparsity", 0.5)).value_or(SparsityPattern{});
    const bool states_sparsity = std::holds_alternative<NofM>(step.pattern);
    if (states_sparsity && body.has("sparsity")) {
      contradiction(body.at("sparsity"),
                    concat("pattern ", backquoted(pattern), " already says the sparsity"),
                    "delete this key");
    }
    if (!states_sparsity && body.has("pattern") && !body.has("sparsity") &&
        parse_mask_pattern(pattern, 0.5)) {
      problems_.add(
          {"R23",
           concat("key `sparsity` is missing in mask, pattern ", backquoted(pattern), " needs it"),
           body.at("pattern"),
           {},
           {}});
    }
    read_mask_allocation(body, step);
    if (body.has("targets")) step.targets.match = body.texts("targets");
    step.targets.except = body.texts("except");
    return step;
  }

  QuantScheme read_scheme(const ObjectReader& body, QuantScheme scheme) {
    scheme.bits = static_cast<int>(body.integer("bits", scheme.bits));
    const bool per_channel = body.text("group_size", "") == "channel";
    scheme.group_size = per_channel ? 0 : body.integer("group_size", scheme.group_size);
    const bool symmetric = body.boolean("symmetric", scheme.symmetry == Symmetry::Symmetric);
    scheme.symmetry = symmetric ? Symmetry::Symmetric : Symmetry::Asymmetric;
    return scheme;
  }

  /// Of the embedding or the head: a scheme, or nothing with skip: true.
  std::optional<QuantScheme> read_table(const ObjectReader& body, const QuantScheme& otherwise) {
    if (!body.boolean("skip", false)) return read_scheme(body, otherwise);
    for (const std::string_view key : {"bits", "group_size", "symmetric"}) {
      if (body.has(key))
        contradiction(body.at(key), concat(key, " beside skip: true"),
                      "a skipped weight has no grid");
    }
    return {};
  }

  QuantizeStep::Rule read_rule(const YamlNode& item, const QuantScheme& weights) {
    const ObjectReader body(&item);
    QuantizeStep::Rule rule;
    rule.targets = {.match = body.texts("match"), .except = body.texts("except")};
    rule.optional = body.boolean("optional", false);
    const bool skip = body.boolean("skip", false);
    if (skip && body.has("weights"))
      contradiction(body.at("skip"), "a rule with both skip: true and weights", "keep one of them");
    if (!skip && !body.has("weights")) {
      problems_.add({"R23", "a rule must have weights or skip: true", item.at, {}, {}});
    }
    if (!skip) rule.scheme = read_scheme(body.object("weights"), weights);
    return rule;
  }

  void read_head_rounding(const ObjectReader& body, QuantizeStep& step) {
    const ObjectReader head = body.object("head");
    if (head.text("rounding", "nearest") != "gptq") return;
    step.head_rounding = HeadRounding::Gptq;
    if (!step.head) {
      contradiction(head.at("rounding"), "rounding beside skip: true",
                    "a skipped weight is not rounded");
    }
    if (calibration_need(step.method) == CalibrationNeed::None) {
      contradiction(head.at("rounding"),
                    concat("head.rounding: gptq beside method: ", method_name(step.method)),
                    "it needs the inputs that gptq, awq and smoothquant gather: use one of them");
    }
  }

  void read_precision(const ObjectReader& body, QuantizeStep& step) {
    if (body.text("precision", "uniform") == "outer-8bit") {
      step.precision = PrecisionRule::OuterDown;
      if (step.head && step.head->bits < 8) {
        contradiction(body.at("precision"),
                      concat("precision: outer-8bit beside a head of ", step.head->bits, " bits"),
                      "it keeps the head at 8 bits: delete one of the two");
      }
    }
    if (body.has("target_size")) {
      step.size_target = TotalBytes{
          static_cast<std::int64_t>(parse_size(body.text("target_size", "")).value_or(1))};
    }
    if (body.has("target_bpw")) step.size_target = BitsPerWeight{body.share("target_bpw", 1)};
    if (body.text("sensitivity", "") == "kl") step.sensitivity = GridSensitivity::Divergence;
    if (step.size_target) {
      check_size_target(body);
    } else if (body.has("sensitivity")) {
      contradiction(body.at("sensitivity"), "sensitivity where no grid is chosen",
                    "delete this key, or add target_size or target_bpw");
    }
  }

  void check_size_target(const ObjectReader& body) {
    const std::string_view key = body.has("target_size") ? "target_size" : "target_bpw";
    const auto refuse = [&](const std::string& what, const std::string& hint) {
      contradiction(body.at(key), concat(key, " ", what), hint);
    };
    if (body.has("target_size") && body.has("target_bpw")) {
      refuse("beside target_bpw", "they decide on the same grids: keep one");
    }
    if (body.text("precision", "uniform") != "uniform") {
      refuse("beside precision: outer-8bit", "they decide on the same grids: keep one");
    }
    for (const std::string_view chosen : {"bits", "group_size"}) {
      if (!body.object("weights").has(chosen)) continue;
      refuse(concat("beside weights.", chosen), "the grids are chosen: delete that key");
    }
    if (!has_calibration_) {
      refuse("without calibration text", "add `calibration: {text: ...}` to the recipe");
    }
    if (dropped_ || pruned_ || masked_) {
      refuse("behind drop_layers, prune or mask",
             "errors are measured on the model as it is read: write the smaller model first, then "
             "quantize it with another recipe");
    }
  }

  QuantizeStep read_quantize(const ObjectReader& body) {
    QuantizeStep step{.method = read_quantize_method(body)};
    check_calibration(calibration_need(step.method), body, "method");
    step.weights = read_scheme(body.object("weights"), step.weights);
    step.embedding = read_table(body.object("embedding"), kTableScheme);
    step.head = read_table(body.object("head"), kTableScheme);
    read_head_rounding(body, step);
    read_precision(body, step);
    step.activations =
        activation_of_name(body.text("activations", "none")).value_or(ActivationRounding::None);
    if (std::holds_alternative<SmoothQuantOptions>(step.method) &&
        step.activations == ActivationRounding::None) {
      contradiction(body.at("method"), "smoothquant where no inputs are rounded",
                    "add `activations: int8-per-token`, or use awq");
    }
    const YamlNode* const rules = body.find("rules");
    if (rules == nullptr) return step;
    for (const YamlNode& item : rules->items) step.rules.push_back(read_rule(item, step.weights));
    return step;
  }

  /// at: where a missing text is to be complained of.
  RecoverStep read_recover(const ObjectReader& body, const SourceSpan& at) {
    RecoverStep step;
    step.choice.options.seed = recipe_.seed;
    // without a mask, the zeros of a quantized layer are ordinary codes
    step.choice.options.zeros = masked_ ? ZeroWeights::Keep : ZeroWeights::Free;
    if (recipe_.calibration) {
      step.text = {.text = recipe_.calibration->text,
                   .sequence_length = recipe_.calibration->sequence_length};
    }
    if (body.has("text")) {
      step.text.text = resolved(recipe_.source_path, body.text("text", ""));
    } else if (!has_calibration_) {
      contradiction(at, "training needs a text",
                    "add `calibration: {text: ...}` to the recipe, or `text` to a recover step");
    }
    if (body.has("samples")) step.text.samples = body.integer("samples", 2);
    step.text.sequence_length = body.integer("sequence_length", step.text.sequence_length);
    if (body.has("gate")) step.gate = body.share("gate", kDefaultRecoveryGate);
    read_training(body, step.choice);
    refuse_idle_training(body, step.choice.options.phases);
    return step;
  }

  /// Keys of a phase that is not asked for.
  void refuse_idle_training(const ObjectReader& body, TrainingPhases phases) {
    const auto refuse = [&](std::initializer_list<std::string_view> keys, const std::string& hint) {
      for (const std::string_view key : keys) {
        if (!body.has(key)) continue;
        contradiction(body.at(key), concat(key, " where it changes nothing"), hint);
      }
    };
    if (!trains_blocks(phases)) {
      refuse({"block_epochs", "block_batch", "block_learning_rate", "block_code_learning_rate",
              "block_scale_learning_rate"},
             "no block is trained by itself: delete this key, or add `phases: blocks` or `both`");
    }
    if (!trains_whole(phases)) {
      refuse({"train", "loss", "epochs", "batch", "learning_rate", "code_learning_rate",
              "scale_learning_rate"},
             "the model is not trained as a whole: delete this key, or make `phases` `both`");
    }
  }

  static void read_training(const ObjectReader& body, TrainingChoice& choice) {
    if (body.has("train")) {
      choice.part =
          body.text("train", "") == "weights" ? TrainedPart::Weights : TrainedPart::Scales;
    }
    if (body.has("loss")) {
      choice.loss =
          body.text("loss", "") == "kl" ? TrainingLoss::Divergence : TrainingLoss::CrossEntropy;
    }
    TrainingOptions& options = choice.options;
    options.phases = training_phases_of_name(body.text("phases", "")).value_or(options.phases);
    BlockTrainingOptions& blocks = options.blocks;
    blocks.epochs = body.integer("block_epochs", blocks.epochs);
    blocks.batch = body.integer("block_batch", blocks.batch);
    blocks.learning_rate = body.share("block_learning_rate", blocks.learning_rate);
    blocks.code_learning_rate = body.share("block_code_learning_rate", blocks.code_learning_rate);
    blocks.scale_learning_rate =
        body.share("block_scale_learning_rate", blocks.scale_learning_rate);
    options.epochs = body.integer("epochs", options.epochs);
    options.batch = body.integer("batch", options.batch);
    options.learning_rate = body.share("learning_rate", options.learning_rate);
    options.code_learning_rate = body.share("code_learning_rate", options.code_learning_rate);
    options.scale_learning_rate = body.share("scale_learning_rate", options.scale_learning_rate);
    options.held_out_share = body.share("held_out", options.held_out_share);
    options.activations = activation_of_name(body.text("activations", "auto"));
  }

  /// `qat: auto` and `qat: always` are a recover step behind the quantize step.
  void add_qat(const ObjectReader& body, std::vector<Step>& steps) {
    const std::string qat = body.text("qat", "never");
    if (qat == "never") {
      for (const char* const key : {"qat_phases", "qat_activations"}) {
        if (!body.has(key)) continue;
        contradiction(body.at(key), concat(key, " where it changes nothing"),
                      "nothing is trained: delete this key, or add `qat: always` or `auto`");
      }
      return;
    }
    RecoverStep step = read_recover(ObjectReader(nullptr), body.at("qat"));
    if (qat == "auto") step.gate = kDefaultRecoveryGate;
    TrainingPhases& phases = step.choice.options.phases;
    phases = training_phases_of_name(body.text("qat_phases", "")).value_or(phases);
    step.choice.options.activations = activation_of_name(body.text("qat_activations", "auto"));
    recovered_ = true;
    steps.push_back({.id = concat(steps.back().id, "-qat"), .action = std::move(step)});
  }

  ExportStep read_export(const ObjectReader& body) {
    ExportStep step;
    const std::string format = body.text("format", "");
    if (format == "onnx") step.format = ExportFormat::Onnx;
    if (format == "genai-sparse") step.format = ExportFormat::GenaiSparse;
    if (format == "onnx-sparse") step.format = ExportFormat::OnnxSparse;
    for (const char* key : {"sparse_from", "scale_bits"}) {
      if (is_sparse(step.format) || !body.has(key)) continue;
      contradiction(body.at(key), concat(key, " with the dense format ", format),
                    concat("use the format ", format, "-sparse, or leave ", key, " out"));
    }
    if (body.has("sparse_from")) step.sparse_from = body.share("sparse_from", 0);
    step.scale_bits = body.integer("scale_bits", step.scale_bits);
    if (!is_genai(step.format) && body.has("accuracy_level")) {
      contradiction(
          body.at("accuracy_level"), concat("accuracy_level with the format ", format),
          "only genai formats have it; ONNX Runtime's session option "
          "session.qdq_matmulnbits_accuracy_level chooses for the others: delete this key");
    }
    step.accuracy_level = static_cast<int>(body.integer("accuracy_level", step.accuracy_level));
    step.context_length = body.integer("context_length", step.context_length);
    step.activations = rounding_of_int8_style(body.text("int8_style", "auto"));
    const bool rounds =
        step.activations.value_or(ActivationRounding::None) != ActivationRounding::None;
    if (rounds && is_sparse(step.format)) {
      contradiction(
          body.at("int8_style"),
          concat("int8_style ", body.text("int8_style", ""), " with the sparse format ", format),
          "sparse products round in their own way: delete this key");
    }
    return step;
  }

  Problems& problems_;
  const Recipe& recipe_;
  bool has_calibration_;
  std::map<std::string, SourceSpan> ids_;
  std::optional<SourceSpan> open_repair_;  // of the step read last, where a mask waits for gptq
  bool dropped_ = false;
  bool pruned_ = false;
  bool masked_ = false;
  bool quantized_ = false;
  bool recovered_ = false;
  bool exported_ = false;
};

Calibration read_calibration(const ObjectReader& body, const std::filesystem::path& path) {
  Calibration calibration{.text = resolved(path, body.text("text", ""))};
  if (body.has("sha256")) calibration.sha256 = body.text("sha256", "");
  calibration.samples = body.integer("samples", calibration.samples);
  calibration.sequence_length = body.integer("sequence_length", calibration.sequence_length);
  return calibration;
}

Evaluation read_evaluation(const ObjectReader& body, const std::filesystem::path& path) {
  Evaluation evaluation{.text = resolved(path, body.text("text", ""))};
  evaluation.protocol = body.text("protocol", evaluation.protocol);
  evaluation.window = body.integer("window", evaluation.window);
  if (body.has("max_windows")) evaluation.max_windows = body.integer("max_windows", 1);
  return evaluation;
}

std::vector<LockedFile> read_locked_files(const YamlNode* list) {
  std::vector<LockedFile> files;
  if (list == nullptr) return files;
  for (const YamlNode& item : list->items) {
    const ObjectReader file(&item);
    files.push_back({.file = file.text("file", ""), .sha256 = file.text("sha256", "")});
  }
  return files;
}

RecipeLock read_lock(const ObjectReader& body) {
  return {.edgecompress = body.text("edgecompress", ""),
          .model = read_locked_files(body.find("model")),
          .texts = read_locked_files(body.find("texts"))};
}

/// Gates that can be measured; a complaint about each of the others.
std::vector<Gate> read_gates(const YamlNode& list, const Recipe& recipe, Problems& problems) {
  std::vector<Gate> gates;
  std::map<GateMetric, SourceSpan> seen;
  for (const YamlNode& item : list.items) {
    const std::optional<Gate> gate = read_gate(ObjectReader(&item));
    if (!gate) continue;
    const SourceSpan at = item.find("metric")->at;
    const std::string complaint = gate_complaint(recipe, *gate);
    if (!complaint.empty()) problems.add({"R20", complaint, at, {}, {}});
    const auto [earlier, fresh] = seen.emplace(gate->metric, at);
    if (!fresh) {
      problems.add(
          {"R5",
           concat("two gates on one metric, in lines ", earlier->second.line, " and ", at.line),
           at,
           {},
           {}});
    }
    gates.push_back(*gate);
  }
  return gates;
}

/// A recipe beside the one that was not found whose name is near.
std::string similar_file(const std::filesystem::path& path) {
  std::vector<std::string> names;
  std::error_code ignored;
  const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
  for (std::filesystem::directory_iterator entry(folder, ignored), end; entry != end;
       entry.increment(ignored)) {
    names.push_back(entry->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return nearest(path.filename().string(), names);
}

}  // namespace

Recipe parse_recipe(const std::string& text, const std::filesystem::path& path,
                    const std::vector<std::string>& overrides) {
  const auto document = std::make_shared<RecipeDocument>();
  Problems problems;
  load_document(text, path, overrides, problems, *document);
  const YamlNode& root = document->root;
  check_shape(root, kRecipeShape, kRecipeShape, problems);
  const ObjectReader reader(&root);
  Recipe recipe{.name = reader.text("name", ""),
                .description = reader.text("description", ""),
                .source_path = path,
                .source_text = document->composed ? yaml_text(root) : text,
                .document = document};
  recipe.model_types = reader.object("model").texts("model_type");
  recipe.seed = static_cast<std::uint64_t>(reader.integer("seed", 0));
  if (reader.has("calibration"))
    recipe.calibration = read_calibration(reader.object("calibration"), path);
  if (const YamlNode* const steps = reader.find("steps")) {
    if (steps->items.empty() &&
        (steps->kind == YamlNode::Kind::List || steps->kind == YamlNode::Kind::Null)) {
      problems.add(
          {"R14", "the recipe has no steps and would do nothing", reader.at("steps"), {}, {}});
    }
    recipe.steps = StepReader(problems, recipe).read(*steps);
  }
  if (reader.has("evaluate")) recipe.evaluation = read_evaluation(reader.object("evaluate"), path);
  if (const YamlNode* const gates = reader.find("gates"))
    recipe.gates = read_gates(*gates, recipe, problems);
  if (reader.has("lock")) recipe.lock = read_lock(reader.object("lock"));
  problems.fail_if_any();
  return recipe;
}

std::string gate_complaint(const Recipe& recipe, const Gate& gate) {
  switch (gate.metric) {
    case GateMetric::PerplexityIncrease:
    case GateMetric::KlDivergence:
    case GateMetric::Top1Agreement:
      if (recipe.evaluation) return {};
      return concat("a gate on ", gate_name(gate.metric), " needs a text to score every stage on");
    case GateMetric::Speedup: {
      const bool exports = std::any_of(
          recipe.steps.begin(), recipe.steps.end(),
          [](const Step& step) { return std::holds_alternative<ExportStep>(step.action); });
      return exports ? "" : "a gate on decode_speedup needs an export step";
    }
    case GateMetric::SizeBytes:
    case GateMetric::Sparsity:
      return {};
  }
  return {};
}

Recipe read_recipe(const std::filesystem::path& path, const std::vector<std::string>& overrides) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) {
    const std::string near = similar_file(path);
    throw Error(ErrorKind::Missing, "R1",
                concat("recipe ", backquoted(path.string()),
                       std::filesystem::exists(path, error) ? " is not a file" : " does not exist",
                       near.empty() ? "" : concat("; did you mean `", near, "`?")));
  }
  if (std::filesystem::file_size(path) > kSizeLimit) {
    throw Error(
        ErrorKind::Usage, "R12",
        concat("recipe ", backquoted(path.string()), " is larger than 1 MiB; is it a recipe?"));
  }
  return parse_recipe(read_text_file(path, kSizeLimit), path, overrides);
}

}  // namespace edgecompress
