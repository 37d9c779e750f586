#include "edgecompress/prune_command.h"

#include <charconv>

#include "base/error.h"
#include "edgecompress/recipe_parts.h"
#include "methods/method_names.h"

namespace edgecompress::cli {
namespace {

StructuredScore parse_score(const std::string& name) {
  if (name == "magnitude-l1") return MagnitudeScore{.norm = 1};
  if (name == "magnitude-l2") return MagnitudeScore{.norm = 2};
  if (name == "output-error") return OutputErrorScore{};
  return ActivationScore{};
}

/// Two positive integers around a separator, "2:4" or "16x1".
std::optional<std::pair<std::int64_t, std::int64_t>> parse_pair(const std::string& text,
                                                                char separator) {
  const std::size_t at = text.find(separator);
  if (at == std::string::npos) return std::nullopt;
  std::int64_t first = 0;
  std::int64_t second = 0;
  const char* const middle = text.data() + at;
  const char* const end = text.data() + text.size();
  const auto left = std::from_chars(text.data(), middle, first);
  const auto right = std::from_chars(middle + 1, end, second);
  const bool whole = left.ec == std::errc() && left.ptr == middle && right.ec == std::errc() &&
                     right.ptr == end && first > 0 && second > 0;
  if (!whole) return std::nullopt;
  return std::pair{first, second};
}

SparsityPattern parse_pattern(const std::string& name, double sparsity) {
  if (name == "unstructured") return Unstructured{.sparsity = sparsity};
  if (name == "per-row") return PerRow{.sparsity = sparsity};
  if (const auto run = parse_pair(name, ':'); run && run->first < run->second) {
    return NofM{.keep = run->first, .of = run->second};
  }
  if (const auto tile = parse_pair(name, 'x')) {
    return Blocks{.rows = tile->first, .columns = tile->second, .sparsity = sparsity};
  }
  throw Error(ErrorKind::Usage, "U-PATTERN",
              concat("--mask: expected unstructured, per-row, N:M (for example 2:4) or RxC (for "
                     "example 16x1), found \"",
                     name, "\""));
}

}  // namespace

CLI::App* add_prune(CLI::App& app, PruneOptions& options) {
  CLI::App* const command =
      app.add_subcommand("prune", "cut attention heads and FFN channels, lay a mask over the rest");
  add_output_flags(*command, options.output);
  command->add_option("--ratio", options.ratio,
                      "share of the decoder blocks to cut away, for example 25%");
  command->add_option("--target", options.target, "what --ratio counts: parameters or flops")
      ->check(CLI::IsMember({"parameters", "flops"}))
      ->capture_default_str();
  command
      ->add_option("--score", options.score,
                   "output-error, activation, magnitude-l2 or magnitude-l1")
      ->check(CLI::IsMember({"output-error", "activation", "magnitude-l2", "magnitude-l1"}))
      ->capture_default_str();
  command
      ->add_option("--repair", options.repair,
                   "none, or least-squares: solve o_proj and down_proj for the dense outputs")
      ->check(CLI::IsMember({"none", "least-squares"}))
      ->default_str("least-squares when the score needs calibration text");
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
                   "none, or least-squares: solve every row for the dense outputs on its support")
      ->check(CLI::IsMember({"none", "least-squares"}))
      ->capture_default_str();
  command->add_option("--mask-target", options.mask_targets,
                      "layers to mask, for example '*.mlp.*'; may be given several times");
  add_calibration_flags(*command, options.calibration);
  add_score_flags(*command, options.score_text);
  add_gate_flags(*command, options.gates, GateScope::Folder);
  add_compute_flags(*command, options.compute);
  command->footer(
      "Examples:\n"
      "  edgecompress prune --model llama -o llama-25 --ratio 25% --calibration calib.txt\n"
      "  edgecompress prune --model llama -o llama-24 --mask 2:4 --mask-method wanda --calibration "
      "calib.txt\n"
      "  edgecompress prune --model llama -o small --ratio 20% --score magnitude-l2 --mask "
      "unstructured "
      "--mask-sparsity 40%");
  return command;
}

Recipe prune_recipe(const PruneOptions& options) {
  Recipe recipe = recipe_with_texts(options.calibration, options.score_text);
  if (!options.ratio.empty()) {
    const StructuredScore score = parse_score(options.score);
    const CutRepair repair = options.repair.empty()              ? default_repair(score)
                             : options.repair == "least-squares" ? CutRepair::LeastSquares
                                                                 : CutRepair::None;
    recipe.steps.push_back(
        {.id = "prune",
         .action =
             PruneStep{.cut = {.score = score,
                               .target = options.target == "flops" ? StructuredTarget::Flops
                                                                   : StructuredTarget::Parameters,
                               .ratio = parse_share(options.ratio, "--ratio"),
                               .repair = repair,
                               .channel_multiple = options.channel_multiple}}});
  }
  if (!options.mask_pattern.empty()) {
    MaskStep mask{.method = MagnitudeMask{},
                  .pattern = parse_pattern(options.mask_pattern,
                                           parse_share(options.mask_sparsity, "--mask-sparsity")),
                  .targets = {.match = {"*"}}};
    if (!options.mask_targets.empty()) mask.targets.match = options.mask_targets;
    if (options.mask_method == "wanda") mask.method = WandaMask{};
    if (options.mask_method == "sparsegpt") mask.method = SparseGptMask{};
    if (options.mask_repair == "least-squares") mask.repair = MaskRepair::LeastSquares;
    recipe.steps.push_back({.id = "mask", .action = mask});
  }
  if (recipe.steps.empty()) {
    throw Error(ErrorKind::Usage, "U-NOTHING",
                "nothing to do: give --ratio for a structured cut, --mask for a mask, or both");
  }
  add_gates(options.gates, recipe);
  return recipe;
}

}  // namespace edgecompress::cli
