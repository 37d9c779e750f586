#include "recipe/language.h"

#include <array>
#include <cstddef>
#include <variant>

#include "methods/training_options.h"
#include "weights/activation_rounding.h"

namespace edgecompress {
namespace {

// Methods. A new one is one row here: its name, its own options, how they are read.

template <typename Method>
struct MethodRow {
  std::string_view name;
  std::span<const Field> options;
  Method (*read)(const ObjectReader& step);
  std::size_t alternative = 0;  ///< of the variant
};

/// True when every alternative of the variant has a row.
template <typename Method, std::size_t N>
consteval bool covers(const std::array<MethodRow<Method>, N>& rows) {
  for (std::size_t alternative = 0; alternative < std::variant_size_v<Method>; ++alternative) {
    bool found = false;
    for (const MethodRow<Method>& row : rows) found = found || row.alternative == alternative;
    if (!found) return false;
  }
  return true;
}

template <typename Method, std::size_t N>
constexpr std::array<std::string_view, N> names_of(const std::array<MethodRow<Method>, N>& rows) {
  std::array<std::string_view, N> names;
  for (std::size_t i = 0; i < N; ++i) names[i] = rows[i].name;
  return names;
}

template <typename Method, std::size_t N>
constexpr std::array<MethodFields, N> options_of(const std::array<MethodRow<Method>, N>& rows) {
  std::array<MethodFields, N> fields;
  for (std::size_t i = 0; i < N; ++i) fields[i] = {rows[i].name, rows[i].options};
  return fields;
}

template <typename Method, std::size_t N>
Method read_method(const std::array<MethodRow<Method>, N>& rows, std::string_view name,
                   const ObjectReader& step) {
  for (const MethodRow<Method>& row : rows) {
    if (row.name == name) return row.read(step);
  }
  return rows[0].read(step);  // an unknown name is reported already
}

StructuredScore read_magnitude_l1(const ObjectReader&) { return MagnitudeScore{.norm = 1}; }
StructuredScore read_magnitude_l2(const ObjectReader&) { return MagnitudeScore{.norm = 2}; }
StructuredScore read_activation(const ObjectReader&) { return ActivationScore{}; }
StructuredScore read_output_error(const ObjectReader&) { return OutputErrorScore{}; }
StructuredScore read_fluctuation(const ObjectReader&) { return FluctuationScore{}; }
StructuredScore read_random(const ObjectReader&) { return RandomScore{}; }  // the recipe's seed

StructuredScore read_taylor(const ObjectReader&) { return TaylorScore{}; }

constexpr std::array kScores{
    MethodRow<StructuredScore>{"magnitude-l1", {}, read_magnitude_l1, 0},
    MethodRow<StructuredScore>{"magnitude-l2", {}, read_magnitude_l2, 0},
    MethodRow<StructuredScore>{"activation", {}, read_activation, 1},
    MethodRow<StructuredScore>{"output-error", {}, read_output_error, 2},
    MethodRow<StructuredScore>{"fluctuation", {}, read_fluctuation, 3},
    MethodRow<StructuredScore>{"random", {}, read_random, 4},
    MethodRow<StructuredScore>{"taylor", {}, read_taylor, 5},
};
static_assert(covers(kScores), "a name for every structured score");

MaskMethod read_magnitude(const ObjectReader&) { return MagnitudeMask{}; }
MaskMethod read_wanda(const ObjectReader&) { return WandaMask{}; }

constexpr Field kDampingField{.key = "damping", .kind = FieldKind::Share};
constexpr std::array kSparseGptOptions{kDampingField};
MaskMethod read_sparsegpt(const ObjectReader& step) {
  return SparseGptMask{.damping = step.share("damping", SparseGptMask{}.damping)};
}

constexpr std::array kMasks{
    MethodRow<MaskMethod>{"magnitude", {}, read_magnitude, 0},
    MethodRow<MaskMethod>{"wanda", {}, read_wanda, 1},
    MethodRow<MaskMethod>{"sparsegpt", kSparseGptOptions, read_sparsegpt, 2},
};
static_assert(kMasks.size() == std::variant_size_v<MaskMethod> && covers(kMasks),
              "a name for every mask method");

constexpr std::array<std::string_view, 2> kClips{"none", "weight-error"};
constexpr std::array kRtnOptions{
    Field{.key = "clip", .kind = FieldKind::Choice, .choices = kClips}};

QuantizeMethod read_rtn(const ObjectReader& step) {
  return RtnOptions{.clip = step.text("clip", "none") == "weight-error" ? ClipSearch::WeightError
                                                                        : ClipSearch::None};
}

constexpr std::array<std::string_view, 3> kGptqClips{"none", "weight-error", "importance"};
constexpr std::array<std::string_view, 2> kOnSingular{"fallback", "fail"};
constexpr std::array kGptqOptions{
    Field{.key = "clip", .kind = FieldKind::Choice, .choices = kGptqClips},
    Field{.key = "act_order", .kind = FieldKind::Boolean},
    kDampingField,
    Field{.key = "refine_rounds", .kind = FieldKind::Integer, .low = 0, .high = 32},
    Field{.key = "on_singular", .kind = FieldKind::Choice, .choices = kOnSingular},
};

QuantizeMethod read_gptq(const ObjectReader& step) {
  const std::string clip = step.text("clip", "importance");
  return GptqOptions{
      .clip = clip == "none"           ? GptqClip::None
              : clip == "weight-error" ? GptqClip::WeightError
                                       : GptqClip::Importance,
      .act_order = step.boolean("act_order", true),
      .damping = step.share("damping", GptqOptions{}.damping),
      .refine_rounds = static_cast<int>(step.integer("refine_rounds", GptqOptions{}.refine_rounds)),
      .on_singular =
          step.text("on_singular", "fallback") == "fail" ? OnSingular::Fail : OnSingular::Fallback};
}

constexpr std::array kHqqOptions{
    Field{.key = "iterations", .kind = FieldKind::Integer, .low = 0, .high = 1000}};

QuantizeMethod read_hqq(const ObjectReader& step) {
  return HqqOptions{.iterations =
                        static_cast<int>(step.integer("iterations", HqqOptions{}.iterations))};
}

constexpr std::array<std::string_view, 2> kRoundings{"nearest", "gptq"};
constexpr std::array<std::string_view, 2> kAwqClips{"none", "output-error"};
constexpr std::array kAwqOptions{
    Field{.key = "rounding", .kind = FieldKind::Choice, .choices = kRoundings},
    Field{.key = "clip", .kind = FieldKind::Choice, .choices = kAwqClips},
};

QuantizeMethod read_awq(const ObjectReader& step) {
  return AwqOptions{
      .rounding =
          step.text("rounding", "nearest") == "gptq" ? AwqRounding::Gptq : AwqRounding::Nearest,
      .clip = step.text("clip", "output-error") == "none" ? AwqClip::None : AwqClip::OutputError};
}

constexpr std::array kSmoothQuantOptions{
    Field{.key = "rounding", .kind = FieldKind::Choice, .choices = kRoundings}};

QuantizeMethod read_smoothquant(const ObjectReader& step) {
  return SmoothQuantOptions{.rounding = step.text("rounding", "nearest") == "gptq"
                                            ? SmoothRounding::Gptq
                                            : SmoothRounding::Nearest};
}

constexpr std::array kQuantizers{
    MethodRow<QuantizeMethod>{"rtn", kRtnOptions, read_rtn, 0},
    MethodRow<QuantizeMethod>{"gptq", kGptqOptions, read_gptq, 1},
    MethodRow<QuantizeMethod>{"hqq", kHqqOptions, read_hqq, 2},
    MethodRow<QuantizeMethod>{"awq", kAwqOptions, read_awq, 3},
    MethodRow<QuantizeMethod>{"smoothquant", kSmoothQuantOptions, read_smoothquant, 4},
};
static_assert(kQuantizers.size() == std::variant_size_v<QuantizeMethod> && covers(kQuantizers),
              "a name for every quantize method");

constexpr std::array kScoreNames = names_of(kScores);
constexpr std::array kMaskNames = names_of(kMasks);
constexpr std::array kQuantizerNames = names_of(kQuantizers);
constexpr std::array kScoreOptions = options_of(kScores);
constexpr std::array kMaskOptions = options_of(kMasks);
constexpr std::array kQuantizerOptions = options_of(kQuantizers);

// Steps.

constexpr std::int64_t kLargestCount = 1'000'000;

constexpr std::array<std::string_view, 4> kRepairs{"none", "least-squares", "dense-outputs",
                                                   "reconstruction"};
constexpr std::array<std::string_view, 5> kMaskRepairs{"none", "least-squares", "dense-outputs",
                                                       "reconstruction", "with-rounding"};
constexpr Field kRepairField{.key = "repair", .kind = FieldKind::Choice, .choices = kRepairs};
constexpr Field kRepairEpochsField{
    .key = "repair_epochs", .kind = FieldKind::Integer, .low = 1, .high = 1000};
constexpr Field kRepairLearningRateField{.key = "repair_learning_rate", .kind = FieldKind::Share};
constexpr std::array<std::string_view, 2> kCutAllocations{"uniform", "per-layer"};
constexpr std::array<std::string_view, 3> kMaskAllocations{"uniform", "outliers", "loss"};
constexpr std::int64_t kLargestLayer = 9999;  // config.json may name 10000
constexpr std::array kPruneFields{
    Field{.key = "score", .kind = FieldKind::Choice, .choices = kScoreNames},
    Field{.key = "target", .kind = FieldKind::Choice, .choices = kStructuredTargetNames},
    Field{.key = "ratio", .kind = FieldKind::Share},
    Field{.key = "heads", .kind = FieldKind::Share},
    Field{.key = "query_heads", .kind = FieldKind::Share},
    Field{.key = "channels", .kind = FieldKind::Share},
    Field{.key = "heads_to_prune", .kind = FieldKind::BlockHeads, .low = 0, .high = kLargestLayer},
    kRepairField,
    kRepairEpochsField,
    kRepairLearningRateField,
    Field{.key = "channel_multiple", .kind = FieldKind::Integer, .low = 1, .high = 4096},
    Field{.key = "allocation", .kind = FieldKind::Choice, .choices = kCutAllocations},
    Field{.key = "protect_first", .kind = FieldKind::Integer, .low = 0, .high = kLargestLayer},
    Field{.key = "protect_last", .kind = FieldKind::Integer, .low = 0, .high = kLargestLayer},
};
constexpr Shape kPruneShape{"prune", kPruneFields, "score", "", kScoreOptions};

constexpr std::array<std::string_view, 2> kLayerScores{"influence", "perplexity"};
constexpr std::array kDropLayersFields{
    Field{.key = "count", .kind = FieldKind::Integer, .low = 1, .high = kLargestLayer},
    Field{.key = "score", .kind = FieldKind::Choice, .choices = kLayerScores},
    Field{.key = "layers", .kind = FieldKind::Integers, .low = 0, .high = kLargestLayer},
};
constexpr Shape kDropLayersShape{"drop_layers", kDropLayersFields};

constexpr std::array kMaskFields{
    Field{.key = "method",
          .kind = FieldKind::Choice,
          .presence = Presence::Required,
          .choices = kMaskNames},
    Field{.key = "pattern", .kind = FieldKind::MaskPattern, .presence = Presence::Required},
    Field{.key = "sparsity", .kind = FieldKind::Share},
    Field{.key = "repair", .kind = FieldKind::Choice, .choices = kMaskRepairs},
    kRepairEpochsField,
    kRepairLearningRateField,
    Field{.key = "allocation", .kind = FieldKind::Choice, .choices = kMaskAllocations},
    Field{.key = "spread", .kind = FieldKind::Share},
    Field{.key = "targets", .kind = FieldKind::Targets},
    Field{.key = "except", .kind = FieldKind::Targets},
};
constexpr Shape kMaskShape{"mask", kMaskFields, "method", "", kMaskOptions};

constexpr std::array<std::string_view, 2> kBits{"4", "8"};
constexpr Field kBitsField{.key = "bits", .kind = FieldKind::Integer, .choices = kBits};
constexpr Field kGroupSizeField{.key = "group_size", .kind = FieldKind::GroupSize};
constexpr Field kSymmetricField{.key = "symmetric", .kind = FieldKind::Boolean};
constexpr Field kSkipField{.key = "skip", .kind = FieldKind::Boolean};

constexpr std::array kSchemeFields{kBitsField, kGroupSizeField, kSymmetricField};
constexpr std::array kTableFields{kBitsField, kGroupSizeField, kSymmetricField, kSkipField};
constexpr Shape kWeightsShape{"quantize.weights", kSchemeFields};
constexpr Shape kEmbeddingShape{"quantize.embedding", kTableFields};
constexpr std::array<std::string_view, 2> kHeadRoundings{"nearest", "gptq"};
constexpr std::array kHeadFields{
    kBitsField, kGroupSizeField, kSymmetricField, kSkipField,
    Field{.key = "rounding", .kind = FieldKind::Choice, .choices = kHeadRoundings}};
constexpr Shape kHeadShape{"quantize.head", kHeadFields};
constexpr Shape kRuleWeightsShape{"quantize.rules.weights", kSchemeFields};

constexpr std::array kRuleFields{
    Field{.key = "match", .kind = FieldKind::Targets, .presence = Presence::Required},
    Field{.key = "except", .kind = FieldKind::Targets},
    Field{.key = "weights", .kind = FieldKind::Object, .shape = &kRuleWeightsShape},
    kSkipField,
    Field{.key = "optional", .kind = FieldKind::Boolean},
};
constexpr Shape kRuleShape{"quantize.rules", kRuleFields};

constexpr std::array kFolderActivations{kActivationNames[0], kActivationNames[1]};
static_assert(kFolderActivations[1] == "int8-per-token", "what a model folder can say");
constexpr std::array<std::string_view, 3> kQat{"auto", "always", "never"};
constexpr std::array<std::string_view, 2> kSensitivities{"hidden-states", "kl"};
constexpr std::array<std::string_view, 2> kPrecisions{"uniform", "outer-8bit"};
constexpr std::array kQuantizeFields{
    Field{.key = "method",
          .kind = FieldKind::Choice,
          .presence = Presence::Required,
          .choices = kQuantizerNames},
    Field{.key = "weights", .kind = FieldKind::Object, .shape = &kWeightsShape},
    Field{.key = "embedding", .kind = FieldKind::Object, .shape = &kEmbeddingShape},
    Field{.key = "head", .kind = FieldKind::Object, .shape = &kHeadShape},
    Field{.key = "rules", .kind = FieldKind::Objects, .shape = &kRuleShape},
    Field{.key = "precision", .kind = FieldKind::Choice, .choices = kPrecisions},
    Field{.key = "target_size", .kind = FieldKind::Size},
    Field{.key = "target_bpw", .kind = FieldKind::Number},
    Field{.key = "sensitivity", .kind = FieldKind::Choice, .choices = kSensitivities},
    Field{.key = "activations", .kind = FieldKind::Choice, .choices = kFolderActivations},
    Field{.key = "qat", .kind = FieldKind::Choice, .choices = kQat},
    Field{.key = "qat_phases", .kind = FieldKind::Choice, .choices = kTrainingPhaseNames},
    Field{.key = "qat_activations", .kind = FieldKind::Choice, .choices = kActivationChoiceNames},
};
constexpr Shape kQuantizeShape{"quantize", kQuantizeFields, "method", "", kQuantizerOptions};

constexpr std::array<std::string_view, 2> kTrainedParts{"scales", "weights"};
constexpr std::array<std::string_view, 2> kTrainingLosses{"kl", "cross-entropy"};
constexpr std::array kRecoverFields{
    Field{.key = "text", .kind = FieldKind::Path},
    Field{.key = "samples", .kind = FieldKind::Integer, .low = 2, .high = kLargestCount},
    Field{.key = "sequence_length", .kind = FieldKind::Integer, .low = 2, .high = kLargestCount},
    Field{.key = "train", .kind = FieldKind::Choice, .choices = kTrainedParts},
    Field{.key = "loss", .kind = FieldKind::Choice, .choices = kTrainingLosses},
    Field{.key = "epochs", .kind = FieldKind::Integer, .low = 1, .high = 1000},
    Field{.key = "batch", .kind = FieldKind::Integer, .low = 1, .high = 1 << 16},
    Field{.key = "learning_rate", .kind = FieldKind::Share},
    Field{.key = "code_learning_rate", .kind = FieldKind::Share},
    Field{.key = "scale_learning_rate", .kind = FieldKind::Share},
    Field{.key = "phases", .kind = FieldKind::Choice, .choices = kTrainingPhaseNames},
    Field{.key = "block_epochs", .kind = FieldKind::Integer, .low = 1, .high = 1000},
    Field{.key = "block_batch", .kind = FieldKind::Integer, .low = 1, .high = 1 << 16},
    Field{.key = "block_learning_rate", .kind = FieldKind::Share},
    Field{.key = "block_code_learning_rate", .kind = FieldKind::Share},
    Field{.key = "block_scale_learning_rate", .kind = FieldKind::Share},
    Field{.key = "held_out", .kind = FieldKind::Share},
    Field{.key = "activations", .kind = FieldKind::Choice, .choices = kActivationChoiceNames},
    Field{.key = "gate", .kind = FieldKind::Share},
};
constexpr Shape kRecoverShape{"recover", kRecoverFields};

constexpr std::array<std::string_view, 4> kFormats{"genai", "onnx", "genai-sparse", "onnx-sparse"};
constexpr std::array<std::string_view, 2> kScaleBits{"16", "32"};
constexpr std::array<std::string_view, 5> kAccuracyLevels{"0", "1", "2", "3", "4"};
constexpr std::array kExportFields{
    Field{.key = "format",
          .kind = FieldKind::Choice,
          .presence = Presence::Required,
          .choices = kFormats},
    Field{.key = "accuracy_level", .kind = FieldKind::Integer, .choices = kAccuracyLevels},
    Field{.key = "context_length", .kind = FieldKind::Integer, .low = 0, .high = 1 << 24},
    Field{.key = "sparse_from", .kind = FieldKind::Share},
    Field{.key = "scale_bits", .kind = FieldKind::Integer, .choices = kScaleBits},
    Field{.key = "int8_style", .kind = FieldKind::Choice, .choices = kInt8StyleNames},
};
constexpr Shape kExportShape{"export", kExportFields};

constexpr std::array kStepFields{
    Field{.key = "id", .kind = FieldKind::Name, .presence = Presence::Required},
    Field{.key = "drop_layers", .kind = FieldKind::Object, .shape = &kDropLayersShape},
    Field{.key = "prune", .kind = FieldKind::Object, .shape = &kPruneShape},
    Field{.key = "mask", .kind = FieldKind::Object, .shape = &kMaskShape},
    Field{.key = "quantize", .kind = FieldKind::Object, .shape = &kQuantizeShape},
    Field{.key = "recover", .kind = FieldKind::Object, .shape = &kRecoverShape},
    Field{.key = "export", .kind = FieldKind::Object, .shape = &kExportShape},
    Field{.key = "remove", .kind = FieldKind::Boolean},
    Field{.key = "after", .kind = FieldKind::Name},
};
constexpr Shape kStepShape{"steps", kStepFields};

// The rest of a recipe.

constexpr std::array kRequiresFields{Field{.key = "edgecompress", .kind = FieldKind::VersionBound}};
constexpr Shape kRequiresShape{"requires", kRequiresFields};

constexpr std::array kModelFields{Field{.key = "model_type", .kind = FieldKind::Texts}};
constexpr Shape kModelShape{"model", kModelFields};

constexpr std::array kCalibrationFields{
    Field{.key = "text", .kind = FieldKind::Path, .presence = Presence::Required},
    Field{.key = "sha256", .kind = FieldKind::Sha256},
    Field{.key = "samples", .kind = FieldKind::Integer, .low = 1, .high = kLargestCount},
    Field{.key = "sequence_length", .kind = FieldKind::Integer, .low = 2, .high = kLargestCount},
};
constexpr Shape kCalibrationShape{"calibration", kCalibrationFields};

constexpr std::array<std::string_view, 1> kProtocols{"gptq-2048"};
constexpr std::array kEvaluateFields{
    Field{.key = "text", .kind = FieldKind::Path, .presence = Presence::Required},
    Field{.key = "protocol", .kind = FieldKind::Choice, .choices = kProtocols},
    Field{.key = "window", .kind = FieldKind::Integer, .low = 2, .high = kLargestCount},
    Field{.key = "max_windows", .kind = FieldKind::Integer, .low = 1, .high = kLargestCount},
};
constexpr Shape kEvaluateShape{"evaluate", kEvaluateFields};

// Gates: the metric decides which key holds the limit.

template <FieldKind kKind>
constexpr std::array kUpperLimit{
    Field{.key = "max", .kind = kKind, .presence = Presence::Required}};
template <FieldKind kKind>
constexpr std::array kLowerLimit{
    Field{.key = "min", .kind = kKind, .presence = Presence::Required}};
constexpr std::array kIncreaseLimit{
    Field{.key = "max_increase", .kind = FieldKind::Increase, .presence = Presence::Required}};

struct GateRow {
  std::string_view name;
  std::span<const Field> limit;
  GateMetric metric;
};
constexpr std::array kGates{
    GateRow{"perplexity", kIncreaseLimit, GateMetric::PerplexityIncrease},
    GateRow{"size", kUpperLimit<FieldKind::Size>, GateMetric::SizeBytes},
    GateRow{"sparsity", kLowerLimit<FieldKind::Share>, GateMetric::Sparsity},
    GateRow{"kl_divergence", kUpperLimit<FieldKind::Number>, GateMetric::KlDivergence},
    GateRow{"top1_agreement", kLowerLimit<FieldKind::Share>, GateMetric::Top1Agreement},
    GateRow{"speedup", kLowerLimit<FieldKind::Number>, GateMetric::Speedup},
};
static_assert(kGates.size() == kNumGateMetrics, "a name for every gate metric");

constexpr std::array<std::string_view, kGates.size()> gate_names() {
  std::array<std::string_view, kGates.size()> names;
  for (std::size_t i = 0; i < kGates.size(); ++i) names[i] = kGates[i].name;
  return names;
}
constexpr std::array<MethodFields, kGates.size()> gate_limits() {
  std::array<MethodFields, kGates.size()> fields;
  for (std::size_t i = 0; i < kGates.size(); ++i) fields[i] = {kGates[i].name, kGates[i].limit};
  return fields;
}
constexpr std::array kGateNames = gate_names();
constexpr std::array kGateLimits = gate_limits();
constexpr std::array kGateFields{Field{.key = "metric",
                                       .kind = FieldKind::Choice,
                                       .presence = Presence::Required,
                                       .choices = kGateNames}};
constexpr Shape kGateShape{"gates", kGateFields, "metric", "", kGateLimits};

// What `recipe lock` writes.

constexpr std::array kLockedFileFields{
    Field{.key = "file", .kind = FieldKind::Text, .presence = Presence::Required},
    Field{.key = "sha256", .kind = FieldKind::Sha256, .presence = Presence::Required},
};
constexpr Shape kLockedFileShape{"lock.files", kLockedFileFields};
constexpr std::array kLockFields{
    Field{.key = "edgecompress", .kind = FieldKind::Text, .presence = Presence::Required},
    Field{.key = "model",
          .kind = FieldKind::Objects,
          .presence = Presence::Required,
          .shape = &kLockedFileShape},
    Field{.key = "texts",
          .kind = FieldKind::Objects,
          .presence = Presence::Required,
          .shape = &kLockedFileShape},
};
constexpr Shape kLockShape{"lock", kLockFields};

constexpr std::int64_t kLargestSeed =
    (std::int64_t{1} << 53) - 1;  // what every JSON reader keeps exactly

constexpr std::array kRecipeFields{
    Field{.key = "schema",
          .kind = FieldKind::SchemaId,
          .presence = Presence::Required,
          .missing_code = "R8"},
    Field{.key = "name", .kind = FieldKind::Name, .presence = Presence::Required},
    Field{.key = "description", .kind = FieldKind::Text},
    Field{.key = "extends", .kind = FieldKind::Bases},
    Field{.key = "vars", .kind = FieldKind::Variables},
    Field{.key = "requires", .kind = FieldKind::Object, .shape = &kRequiresShape},
    Field{.key = "model", .kind = FieldKind::Object, .shape = &kModelShape},
    Field{.key = "seed", .kind = FieldKind::Integer, .low = 0, .high = kLargestSeed},
    Field{.key = "calibration", .kind = FieldKind::Object, .shape = &kCalibrationShape},
    Field{.key = "steps",
          .kind = FieldKind::Objects,
          .presence = Presence::Required,
          .shape = &kStepShape,
          .missing_code = "R14"},
    Field{.key = "evaluate", .kind = FieldKind::Object, .shape = &kEvaluateShape},
    Field{.key = "gates", .kind = FieldKind::Objects, .shape = &kGateShape},
    Field{.key = "lock", .kind = FieldKind::Object, .shape = &kLockShape},
};

}  // namespace

constexpr Shape kRecipeShape{"", kRecipeFields};

std::optional<Gate> read_gate(const ObjectReader& body) {
  const std::string name = body.text("metric", "");
  for (const GateRow& row : kGates) {
    if (row.name != name) continue;
    const Field& limit = row.limit[0];
    const std::string text = body.text(limit.key, "");
    const std::optional<double> value =
        limit.kind == FieldKind::Size ? parse_size(text) : parse_share(text);
    if (value) return Gate{.metric = row.metric, .limit = *value};
  }
  return {};
}

StructuredScore read_structured_score(const ObjectReader& step) {
  return read_method(kScores, step.text("score", ""), step);
}

MaskMethod read_mask_method(const ObjectReader& step) {
  return read_method(kMasks, step.text("method", ""), step);
}

QuantizeMethod read_quantize_method(const ObjectReader& step) {
  return read_method(kQuantizers, step.text("method", ""), step);
}

}  // namespace edgecompress
