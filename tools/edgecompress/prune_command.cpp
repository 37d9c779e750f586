#include "edgecompress/prune_command.h"

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "edgecompress/recipe_parts.h"
#include "methods/method_names.h"
#include "recipe/mask_pattern.h"

namespace edgecompress::cli {
namespace {

StructuredScore parse_score(const std::string& name, std::uint64_t seed) {
  if (name == "magnitude-l1") return MagnitudeScore{.norm = 1};
  if (name == "magnitude-l2") return MagnitudeScore{.norm = 2};
  if (name == "output-error") return OutputErrorScore{};
  if (name == "fluctuation") return FluctuationScore{};
  if (name == "taylor") return TaylorScore{};
  if (name == "random") return RandomScore{.seed = seed};
  return ActivationScore{};
}

template <typename Repair>
Repair parse_repair(const std::string& name) {
  return name == "least-squares"    ? Repair::LeastSquares
         : name == "dense-outputs"  ? Repair::DenseOutputs
         : name == "reconstruction" ? Repair::Reconstruction
                                    : Repair::None;
}

CutRepair repair_of(const PruneOptions& options, const StructuredScore& score) {
  if (options.repair.empty()) return default_repair(score);
  return parse_repair<CutRepair>(options.repair);
}

ReconstructionOptions reconstruction_of(const std::optional<std::int64_t>& epochs,
                                        const std::optional<double>& learning_rate,
                                        std::uint64_t seed) {
  const ReconstructionOptions defaults;
  return {.epochs = epochs.value_or(defaults.epochs),
          .learning_rate = learning_rate.value_or(defaults.learning_rate),
          .seed = seed};
}

bool trains(const PruneOptions& options) {
  return options.repair == "reconstruction" || options.mask_repair == "reconstruction";
}

bool cuts_parts(const PruneOptions& options) {
  return !options.heads.empty() || !options.query_heads.empty() || !options.channels.empty();
}

double parse_share_or_none(const std::string& text, const std::string& flag) {
  return text.empty() ? 0 : parse_share(text, flag);
}

std::optional<PartShares> parts_of(const PruneOptions& options) {
  const bool by_lists = !options.head_lists.empty();
  if (!options.ratio.empty() && (by_lists || cuts_parts(options))) {
    throw Error(ErrorKind::Usage, "U-SHARE",
                "--ratio beside --heads, --query-heads, --channels or --prune-heads: these name "
                "what to remove of each part, so leave --ratio away");
  }
  if (by_lists && (!options.heads.empty() || !options.query_heads.empty())) {
    throw Error(ErrorKind::Usage, "U-SHARE",
                "--prune-heads beside --heads or --query-heads: the lists name the heads that go, "
                "so leave the shares away");
  }
  if (!cuts_parts(options)) return std::nullopt;
  return PartShares{.kv_groups = parse_share_or_none(options.heads, "--heads"),
                    .channels = parse_share_or_none(options.channels, "--channels"),
                    .query_heads = parse_share_or_none(options.query_heads, "--query-heads")};
}

/// The whole text as a number that is not negative.
std::optional<std::int64_t> parse_index(std::string_view text) {
  std::int64_t index = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), index);
  const bool whole = read.ec == std::errc() && read.ptr == text.data() + text.size();
  return whole && index >= 0 ? std::optional(index) : std::nullopt;
}

/// Adds "BLOCK:HEAD,HEAD" to the lists; false when it is not of that form.
bool add_head_list(std::string_view text, HeadLists& lists) {
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos) return false;
  const auto block = parse_index(text.substr(0, colon));
  if (!block) return false;
  std::string_view rest = text.substr(colon + 1);
  while (true) {
    const std::size_t comma = rest.find(',');
    const auto head = parse_index(rest.substr(0, comma));
    if (!head) return false;
    lists[*block].push_back(*head);
    if (comma == std::string_view::npos) return true;
    rest.remove_prefix(comma + 1);
  }
}

HeadLists head_lists_of(const PruneOptions& options) {
  HeadLists lists;
  for (const std::string& text : options.head_lists) {
    if (add_head_list(text, lists)) continue;
    throw Error(ErrorKind::Usage, "U-HEADS",
                concat("--prune-heads: expected a decoder block and its heads, for example 0:0,1, "
                       "found \"",
                       text, "\""));
  }
  return lists;
}

DropLayersStep drop_layers_of(const PruneOptions& options) {
  DropLayersStep step{
      .layers = options.dropped_layers,
      .count = options.drop_layers,
      .score = options.drop_score == "perplexity" ? LayerScore::Perplexity : LayerScore::Influence};
  std::sort(step.layers.begin(), step.layers.end());
  if (std::adjacent_find(step.layers.begin(), step.layers.end()) != step.layers.end()) {
    throw Error(ErrorKind::Usage, "U-LAYER", "--drop-layer names a decoder block twice");
  }
  return step;
}

void refuse_conflicting_allocation(const PruneOptions& options) {
  const bool per_layer = options.allocation == "per-layer";
  if (per_layer && options.ratio.empty() && options.heads.empty() && options.channels.empty()) {
    throw Error(ErrorKind::Usage, "U-NOTHING",
                "--allocation per-layer spreads a share over the blocks: give --ratio, --heads or "
                "--channels");
  }
  if (per_layer && (!options.query_heads.empty() || !options.head_lists.empty())) {
    throw Error(ErrorKind::Usage, "U-SHARE",
                "--allocation per-layer decides how many KV groups and channels each block keeps; "
                "leave --query-heads and --prune-heads away");
  }
}

SparsityPattern mask_pattern_of(const PruneOptions& options) {
  const double sparsity = parse_share(options.mask_sparsity, "--mask-sparsity");
  if (const auto pattern = parse_mask_pattern(options.mask_pattern, sparsity)) return *pattern;
  throw Error(
      ErrorKind::Usage, "U-PATTERN",
      concat("--mask: expected ", kMaskPatternForms, ", found \"", options.mask_pattern, "\""));
}

MaskAllocation mask_allocation_of(const PruneOptions& options) {
  if (options.mask_allocation == "uniform") return MaskAllocation::Uniform;
  if (std::holds_alternative<NofM>(mask_pattern_of(options))) {
    throw Error(ErrorKind::Usage, "U-PATTERN",
                concat("--mask-allocation ", options.mask_allocation,
                       " beside an N:M pattern, which has one sparsity; choose another pattern or "
                       "leave it uniform"));
  }
  return options.mask_allocation == "loss" ? MaskAllocation::Loss : MaskAllocation::Outliers;
}

bool has_cut(const PruneOptions& options) {
  return !options.ratio.empty() || cuts_parts(options) || !options.head_lists.empty();
}

/// Flags of a cut or a mask that is not asked for, and those that another flag leaves without use.
void refuse_unused_flags(const CLI::App& command, const PruneOptions& options) {
  if (!has_cut(options)) {
    refuse_idle_flags(command,
                      {"--target", "--score", "--repair", "--repair-epochs",
                       "--repair-learning-rate", "--channel-multiple"},
                      "it is of a cut, which --ratio, --heads, --query-heads, --prune-heads or "
                      "--channels asks for");
  }
  if (options.drop_layers == 0) {
    refuse_idle_flags(command, {"--drop-score"},
                      "--drop-layers chooses blocks; --drop-layer names them");
  }
  if (cuts_parts(options) && options.ratio.empty()) {
    refuse_idle_flags(command, {"--target"},
                      "it says what --ratio counts; --heads and --channels count themselves");
  }
  if (options.repair != "reconstruction") {
    refuse_idle_flags(command, {"--repair-epochs", "--repair-learning-rate"},
                      "only --repair reconstruction trains");
  }
  if (options.allocation != "per-layer") {
    refuse_idle_flags(command, {"--protect-first", "--protect-last"},
                      "a uniform cut takes the same from every block; --allocation per-layer "
                      "does not");
  }
  if (options.mask_repair != "reconstruction") {
    refuse_idle_flags(command, {"--mask-repair-epochs", "--mask-repair-learning-rate"},
                      "only --mask-repair reconstruction trains");
  }
  if (options.score != "random" && !trains(options)) {
    refuse_idle_flags(command, {"--seed"}, "only --score random and a reconstruction draw numbers");
  }
  if (options.mask_pattern.empty()) {
    refuse_idle_flags(command,
                      {"--mask-sparsity", "--mask-method", "--mask-repair", "--mask-repair-epochs",
                       "--mask-repair-learning-rate", "--mask-allocation", "--mask-target"},
                      "it is of a mask, which --mask asks for");
  } else if (std::holds_alternative<NofM>(mask_pattern_of(options))) {
    refuse_idle_flags(command, {"--mask-sparsity"},
                      concat("--mask ", options.mask_pattern, " says itself how much it drops"));
  }
}

}  // namespace

CLI::App* add_prune(CLI::App& app, PruneOptions& options) {
  CLI::App* const command = app.add_subcommand(
      "prune", "cut heads, FFN channels and whole blocks, lay a mask over the rest");
  add_output_flags(*command, options.output);
  add_dry_run_flag(*command, options.output);
  command->add_option("--ratio", options.ratio,
                      "share of the decoder blocks to cut away, for example 25%");
  command
      ->add_option("--drop-layers", options.drop_layers,
                   "leave out so many decoder blocks, those worth the least")
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--drop-score", options.drop_score,
                   "of --drop-layers: influence, what a block changes of the hidden states' "
                   "direction; perplexity, what the model loses without it")
      ->check(CLI::IsMember({"influence", "perplexity"}))
      ->capture_default_str();
  command
      ->add_option("--drop-layer", options.dropped_layers,
                   "leave out this decoder block, counted from 0; may be given several times")
      ->check(CLI::NonNegativeNumber)
      ->excludes("--drop-layers");
  command
      ->add_option(
          "--allocation", options.allocation,
          "uniform: the same widths in every block; per-layer: what is worth the least goes")
      ->check(CLI::IsMember({"uniform", "per-layer"}))
      ->capture_default_str();
  command
      ->add_option("--protect-first", options.protect_first,
                   "with per-layer: so many blocks at the start stay whole")
      ->check(CLI::NonNegativeNumber);
  command
      ->add_option("--protect-last", options.protect_last,
                   "with per-layer: so many blocks at the end stay whole")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--heads", options.heads,
                      "instead of --ratio: share of the KV groups, with their query heads");
  command->add_option("--query-heads", options.query_heads,
                      "instead of --ratio: share of the query heads of each KV group that stays");
  command->add_option(
      "--prune-heads", options.head_lists,
      "BLOCK:HEAD,HEAD: these query heads of this decoder block, counted from 0; may "
      "be given several times");
  command->add_option("--channels", options.channels,
                      "instead of --ratio: share of the FFN channels");
  command
      ->add_option("--target", options.target,
                   "what --ratio is a share of: the decoder blocks' parameters or flops, the bytes "
                   "of all weights, or decode-time: the bytes that a decoded token reads")
      ->check(CLI::IsMember(kStructuredTargetNames))
      ->capture_default_str();
  command
      ->add_option(
          "--score", options.score,
          "output-error, taylor, activation, fluctuation, magnitude-l2, magnitude-l1 or random")
      ->check(CLI::IsMember({"output-error", "taylor", "activation", "fluctuation", "magnitude-l2",
                             "magnitude-l1", "random"}))
      ->capture_default_str();
  command
      ->add_option("--seed", options.seed,
                   "of the random score, and of the order of windows in a reconstruction")
      ->capture_default_str();
  command
      ->add_option("--repair", options.repair,
                   "none; least-squares: solve o_proj and down_proj for the uncut layer's outputs; "
                   "dense-outputs: for the dense model's hidden states; reconstruction: the same, "
                   "then train the whole block for them")
      ->check(CLI::IsMember({"none", "least-squares", "dense-outputs", "reconstruction"}))
      ->default_str("least-squares when the score needs calibration text");
  command
      ->add_option("--repair-epochs", options.repair_epochs,
                   "of --repair reconstruction: times over the calibration text")
      ->check(CLI::Range(1, 1000))
      ->default_str(std::to_string(ReconstructionOptions{}.epochs));
  command
      ->add_option("--repair-learning-rate", options.repair_learning_rate,
                   "of --repair reconstruction, at the start")
      ->check(CLI::Range(0.0, 1.0))
      ->check(kNotNan)
      ->default_str(concat(ReconstructionOptions{}.learning_rate));
  command
      ->add_option("--channel-multiple", options.channel_multiple,
                   "FFN widths are rounded to a multiple of this")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--mask", options.mask_pattern,
                      "unstructured, per-row, N:M such as 2:4, or RxC blocks such as 16x1");
  command
      ->add_option("--mask-sparsity", options.mask_sparsity,
                   "share of the remaining weights to drop (not with N:M)")
      ->capture_default_str();
  command->add_option("--mask-method", options.mask_method, "magnitude, wanda or sparsegpt")
      ->check(CLI::IsMember({"magnitude", "wanda", "sparsegpt"}))
      ->capture_default_str();
  command
      ->add_option("--mask-repair", options.mask_repair,
                   "none; least-squares: solve every row for the unmasked layer's outputs on its "
                   "support; dense-outputs: for the dense model's outputs or hidden states; "
                   "reconstruction: least-squares, then train the kept weights of the whole block "
                   "for the dense model's hidden states")
      ->check(CLI::IsMember({"none", "least-squares", "dense-outputs", "reconstruction"}))
      ->capture_default_str();
  command
      ->add_option("--mask-repair-epochs", options.mask_repair_epochs,
                   "of --mask-repair reconstruction: times over the calibration text")
      ->check(CLI::Range(1, 1000))
      ->default_str(std::to_string(ReconstructionOptions{}.epochs));
  command
      ->add_option("--mask-repair-learning-rate", options.mask_repair_learning_rate,
                   "of --mask-repair reconstruction, at the start")
      ->check(CLI::Range(0.0, 1.0))
      ->check(kNotNan)
      ->default_str(concat(ReconstructionOptions{}.learning_rate));
  command
      ->add_option("--mask-allocation", options.mask_allocation,
                   "uniform; outliers: blocks with more outstanding weights keep more (OWL); loss: "
                   "every matrix its own, the weights that cost the loss least go")
      ->check(CLI::IsMember({"uniform", "outliers", "loss"}))
      ->capture_default_str();
  command->add_option("--mask-target", options.mask_targets,
                      "layers to mask, for example '*.mlp.*'; may be given several times");
  add_calibration_flags(*command, options.calibration);
  add_score_flags(*command, options.score_text);
  add_gate_flags(*command, options.gates, GateScope::Folder);
  add_compute_flags(*command, options.compute);
  add_memory_flag(*command, options.compute);
  command->footer(
      "Examples:\n"
      "  edgecompress prune --model llama -o llama-25 --ratio 25% --calibration calib.txt\n"
      "  edgecompress prune --model llama -o llama-24 --mask 2:4 --mask-method wanda --calibration "
      "calib.txt\n"
      "  edgecompress prune --model llama -o small --ratio 20% --score magnitude-l2 --mask "
      "unstructured "
      "--mask-sparsity 40%");
  command->callback([command, &options] { refuse_unused_flags(*command, options); });
  return command;
}

Recipe prune_recipe(const PruneOptions& options) {
  Recipe recipe = recipe_with_texts(options.calibration, options.score_text);
  if (options.drop_layers > 0 || !options.dropped_layers.empty()) {
    recipe.steps.push_back({.id = "drop", .action = drop_layers_of(options)});
  }
  refuse_conflicting_allocation(options);
  if (has_cut(options)) {
    const StructuredScore score = parse_score(options.score, options.seed);
    recipe.steps.push_back(
        {.id = "prune",
         .action = PruneStep{
             .cut = {.score = score,
                     .target = structured_target_of_name(options.target).value(),
                     .ratio = parse_share_or_none(options.ratio, "--ratio"),
                     .parts = parts_of(options),
                     .heads_to_prune = head_lists_of(options),
                     .repair = repair_of(options, score),
                     .reconstruction = reconstruction_of(
                         options.repair_epochs, options.repair_learning_rate, options.seed),
                     .channel_multiple = options.channel_multiple,
                     .allocation = options.allocation == "per-layer" ? CutAllocation::PerLayer
                                                                     : CutAllocation::Uniform,
                     .protect_first = options.protect_first,
                     .protect_last = options.protect_last}}});
  }
  if (!options.mask_pattern.empty()) {
    MaskStep mask{.method = MagnitudeMask{},
                  .pattern = mask_pattern_of(options),
                  .targets = {.match = {"*"}}};
    if (!options.mask_targets.empty()) mask.targets.match = options.mask_targets;
    if (options.mask_method == "wanda") mask.method = WandaMask{};
    if (options.mask_method == "sparsegpt") mask.method = SparseGptMask{};
    mask.repair = parse_repair<MaskRepair>(options.mask_repair);
    mask.reconstruction = reconstruction_of(options.mask_repair_epochs,
                                            options.mask_repair_learning_rate, options.seed);
    mask.allocation = mask_allocation_of(options);
    recipe.steps.push_back({.id = "mask", .action = mask});
  }
  if (recipe.steps.empty()) {
    throw Error(
        ErrorKind::Usage, "U-NOTHING",
        "nothing to do: give --ratio (or --heads, --query-heads, --channels, --prune-heads) for "
        "a structured cut, --drop-layers for whole blocks, --mask for a mask, or several of them");
  }
  add_gates(options.gates, recipe);
  return recipe;
}

}  // namespace edgecompress::cli
