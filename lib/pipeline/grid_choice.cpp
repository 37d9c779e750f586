#include "pipeline/grid_choice.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "base/error.h"
#include "llama/linear_layers.h"
#include "quantize/grid_allocation.h"
#include "report/text_numbers.h"

namespace edgecompress {
namespace {

constexpr int kMostTries = 8;

/// Layers that have one grid.
struct TiedLayers {
  std::vector<std::pair<std::string, MatrixShape>> modules;
};

/// The expected squared error of rounding normal weights: a grid's step is its group's range over
/// the number of codes, and of n of them the largest lies at about sqrt(2 ln n).
double expected_error(const QuantScheme& grid) {
  return std::log(static_cast<double>(grid.group_size)) / std::pow(4.0, grid.bits);
}

/// As MatMulNBits holds it: packed codes, float scales, packed zero points, rows one by one.
std::int64_t packed_bytes(MatrixShape shape, const QuantScheme& grid) {
  const std::int64_t groups = grid.groups_per_row(shape.in_features);
  const std::int64_t codes = groups * grid.group_length(shape.in_features) * grid.bits / 8;
  const std::int64_t zero_points =
      grid.symmetry == Symmetry::Asymmetric ? (groups * grid.bits + 7) / 8 : 0;
  return shape.out_features *
         (codes + groups * static_cast<std::int64_t>(sizeof(float)) + zero_points);
}

std::int64_t bytes_of(const TiedLayers& layers, const QuantScheme& grid) {
  std::int64_t bytes = 0;
  for (const auto& [module, shape] : layers.modules) bytes += packed_bytes(shape, grid);
  return bytes;
}

class GridChooser {
 public:
  explicit GridChooser(const GridQuestion& question)
      : question_(question), grids_(candidate_schemes(question.step.weights)) {
    for (std::int64_t block = 0; block < question.config.num_blocks(); ++block) {
      for (const InputGroup group : kInputGroups) add_group(block, group);
    }
  }

  std::vector<QuantizeStep::Rule> choose() const {
    const auto* const total = std::get_if<TotalBytes>(&*question_.step.size_target);
    return rules_of(total != nullptr
                        ? within_total(total->bytes)
                        : within_bits(std::get<BitsPerWeight>(*question_.step.size_target)));
  }

 private:
  using Choice = std::vector<std::size_t>;

  void add_group(std::int64_t block, InputGroup group) {
    TiedLayers layers;
    for (const LinearKind kind : layers_of(group)) {
      const std::string module = module_name({block, kind});
      if (!is_grid_open(question_.step, {.module = module})) continue;
      layers.modules.emplace_back(module, linear_shape(question_.config, {block, kind}));
    }
    if (layers.modules.empty()) return;
    std::vector<StorageOption> options;
    for (std::size_t i = 0; i < grids_.size(); ++i) {
      const double error =
          question_.errors.empty()
              ? expected_error(grids_[i]) * static_cast<double>(layers.modules.size())
              : question_
                    .errors[static_cast<std::size_t>(block)][static_cast<std::size_t>(group)][i];
      options.push_back({.bytes = bytes_of(layers, grids_[i]), .error = error});
    }
    items_.push_back(std::move(options));
    layers_.push_back(std::move(layers));
  }

  std::optional<Choice> allocate(std::int64_t budget) const {
    return allocate_grids(items_, budget);
  }

  Choice smallest() const {
    Choice choice;
    for (const std::vector<StorageOption>& options : items_) {
      const auto least = std::min_element(
          options.begin(), options.end(),
          [](const StorageOption& a, const StorageOption& b) { return a.bytes < b.bytes; });
      choice.push_back(static_cast<std::size_t>(least - options.begin()));
    }
    return choice;
  }

  std::int64_t packed(const Choice& choice) const {
    std::int64_t bytes = 0;
    for (std::size_t i = 0; i < choice.size(); ++i) bytes += items_[i][choice[i]].bytes;
    return bytes;
  }

  std::int64_t artifact(const Choice& choice) const {
    WeightForms forms = question_.forms;
    for (std::size_t i = 0; i < choice.size(); ++i) {
      for (const auto& [module, shape] : layers_[i].modules) {
        forms.insert_or_assign(module, QuantizedForm{grids_[choice[i]]});
      }
    }
    return question_.artifact_bytes(forms);
  }

  /// An artifact is not quite the sum of what layers take alone (the graph's own size, other
  /// formats), so the room for them is made smaller until it fits.
  Choice within_total(std::int64_t limit) const {
    Choice best = smallest();
    const std::int64_t least = artifact(best);
    if (least > limit) {
      throw Error(
          ErrorKind::Unsupported, "U-SIZE",
          concat("the smallest artifact that 4 bits in groups of 128 reach is ", least, " bytes (",
                 size_text(least), "), the target is ", limit, " (", size_text(limit),
                 "); give a larger target, or fewer bits for the embedding and the head"));
    }
    std::int64_t room = limit - (least - packed(best));
    for (int i = 0; i < kMostTries; ++i) {
      const std::optional<Choice> choice = allocate(room);
      if (!choice) break;
      const std::int64_t over = artifact(*choice) - limit;
      if (over <= 0) return *choice;
      room -= over;
    }
    return best;
  }

  /// Rules' grids count too: a target is for all of the blocks' linear layers that have one.
  Choice within_bits(BitsPerWeight target) const {
    std::int64_t weights = 0;
    std::int64_t fixed = 0;
    for (std::int64_t block = 0; block < question_.config.num_blocks(); ++block) {
      for (const LinearKind kind : kLinearKinds) {
        const std::string module = module_name({block, kind});
        const MatrixShape shape = linear_shape(question_.config, {block, kind});
        const StoredForm& form = question_.forms.at(module);
        if (std::holds_alternative<FloatForm>(form)) continue;
        weights += shape.out_features * shape.in_features;
        if (!is_grid_open(question_.step, {.module = module})) {
          fixed += packed_bytes(shape, std::get<QuantizedForm>(form).scheme);
        }
      }
    }
    const auto bits = [&](std::int64_t bytes) {
      return 8 * static_cast<double>(bytes) / static_cast<double>(weights);
    };
    const auto limit =
        static_cast<std::int64_t>(target.bits * static_cast<double>(weights) / 8) - fixed;
    const std::optional<Choice> choice = allocate(limit);
    if (choice) return *choice;
    throw Error(ErrorKind::Unsupported, "U-SIZE",
                concat("the fewest bits a weight that 4 bits in groups of 128 reach are ",
                       bits(packed(smallest()) + fixed), ", the target is ", target.bits,
                       "; scales and zero points count"));
  }

  std::vector<QuantizeStep::Rule> rules_of(const Choice& choice) const {
    std::vector<QuantizeStep::Rule> rules;
    for (std::size_t grid = 0; grid < grids_.size(); ++grid) {
      QuantizeStep::Rule rule{.targets = {}, .scheme = grids_[grid], .optional = true};
      for (std::size_t i = 0; i < choice.size(); ++i) {
        if (choice[i] != grid) continue;
        for (const auto& [module, shape] : layers_[i].modules) {
          rule.targets.match.push_back(module);
        }
      }
      if (!rule.targets.match.empty()) rules.push_back(std::move(rule));
    }
    return rules;
  }

  const GridQuestion& question_;
  const std::vector<QuantScheme> grids_;
  std::vector<TiedLayers> layers_;
  std::vector<std::vector<StorageOption>> items_;  ///< their options
};

}  // namespace

std::vector<QuantizeStep::Rule> choose_grids(const GridQuestion& question) {
  return GridChooser(question).choose();
}

}  // namespace edgecompress
