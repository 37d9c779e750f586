#include "pipeline/block_decisions.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "prune/allocation.h"
#include "prune/head_lists.h"

namespace edgecompress {
namespace {

std::vector<PartScores> worths_of(const std::vector<BlockSurvey>& survey,
                                  const LlamaConfig& config) {
  std::vector<PartScores> worths;
  for (const BlockSurvey& block : survey) worths.push_back(block.taylor);
  const BlockShape& shape = config.blocks.front();
  // Before the survey: whatever the worths, this much can go or not.
  const PartScores alike{
      .kv_groups = std::vector<double>(static_cast<std::size_t>(shape.num_key_value_heads), 1.0),
      .channels = std::vector<double>(static_cast<std::size_t>(shape.intermediate_size), 1.0)};
  worths.resize(config.blocks.size(), alike);
  return worths;
}

void use_list(const std::vector<std::int64_t>& removed, const BlockShape& block,
              CutWidths& widths) {
  const KeptHeads kept = heads_left({.num_attention_heads = block.num_attention_heads,
                                     .num_key_value_heads = block.num_key_value_heads},
                                    removed);
  const auto groups = static_cast<std::int64_t>(kept.kv_groups.size());
  widths.num_key_value_heads = groups;
  widths.queries_removed = block.num_attention_heads / block.num_key_value_heads -
                           static_cast<std::int64_t>(kept.query_heads.size()) / groups;
  widths.heads_to_prune = removed;
}

/// The widths that head lists leave, block by block; blocks without a list keep their heads.
std::vector<CutWidths> widths_of_lists(const StructuredCut& cut, const LlamaConfig& config) {
  if (cut.heads_to_prune.rbegin()->first >= config.num_blocks()) {
    throw Error(ErrorKind::Unsupported, "P-HEADS",
                concat("heads of decoder block ", cut.heads_to_prune.rbegin()->first,
                       " are to be removed; the model has blocks 0 to ", config.num_blocks() - 1));
  }
  StructuredCut channels = cut;
  if (!channels.parts) channels.parts = PartShares{};
  std::vector<CutWidths> widths;
  for (std::int64_t index = 0; index < config.num_blocks(); ++index) {
    const BlockShape& block = config.blocks[static_cast<std::size_t>(index)];
    CutWidths cut_widths = plan_cut(channels, {.hidden_size = config.hidden_size,
                                               .head_dim = config.head_dim,
                                               .num_attention_heads = block.num_attention_heads,
                                               .num_key_value_heads = block.num_key_value_heads,
                                               .intermediate_size = block.intermediate_size,
                                               .sequence_length = 1});
    const auto list = cut.heads_to_prune.find(index);
    if (list != cut.heads_to_prune.end()) {
      with_context(concat("decoder block ", index),
                   [&] { use_list(list->second, block, cut_widths); });
    }
    widths.push_back(std::move(cut_widths));
  }
  return widths;
}

}  // namespace

LlamaConfig with_widths(LlamaConfig config, const std::vector<CutWidths>& widths) {
  for (std::size_t i = 0; i < widths.size(); ++i) {
    BlockShape& block = config.blocks[i];
    const std::int64_t queries_per_group =
        block.num_attention_heads / block.num_key_value_heads - widths[i].queries_removed;
    block = {.num_attention_heads = widths[i].num_key_value_heads * queries_per_group,
             .num_key_value_heads = widths[i].num_key_value_heads,
             .intermediate_size = widths[i].intermediate_size};
  }
  return config;
}

std::vector<BlockSurvey> surveys_of(const std::vector<std::int64_t>& source_blocks,
                                    const std::vector<BlockSurvey>& survey) {
  std::vector<BlockSurvey> kept;
  for (const std::int64_t block : source_blocks) {
    if (!survey.empty()) kept.push_back(survey[static_cast<std::size_t>(block)]);
  }
  return kept;
}

std::vector<CutWidths> widths_of(const PruneStep& step, const LlamaConfig& config,
                                 const std::vector<BlockSurvey>& survey,
                                 std::int64_t sequence_length) {
  if (!step.cut.heads_to_prune.empty()) return widths_of_lists(step.cut, config);
  if (!config.is_uniform()) {
    throw Error(ErrorKind::Unsupported, "P-SHAPES",
                "a structured cut needs decoder blocks of equal widths; these differ already");
  }
  const BlockShape& block = config.blocks.front();
  const CutShape shape{.hidden_size = config.hidden_size,
                       .head_dim = config.head_dim,
                       .num_attention_heads = block.num_attention_heads,
                       .num_key_value_heads = block.num_key_value_heads,
                       .intermediate_size = block.intermediate_size,
                       .sequence_length = sequence_length};
  if (step.cut.allocation == CutAllocation::PerLayer) {
    return allocate_cut(step.cut, shape, worths_of(survey, config));
  }
  return std::vector<CutWidths>(config.blocks.size(), plan_cut(step.cut, shape));
}

std::vector<std::int64_t> blocks_left(const DropLayersStep& step, std::int64_t count,
                                      const std::vector<BlockSurvey>& survey) {
  const std::int64_t most = count - 1;
  const std::int64_t dropped =
      step.count > 0 ? step.count : static_cast<std::int64_t>(step.layers.size());
  if (dropped > most || (!step.layers.empty() && step.layers.back() >= count)) {
    throw Error(ErrorKind::Unsupported, "U-LAYER",
                concat("the model has decoder blocks 0 to ", most, ", of which at most ", most,
                       " can be left out; asked for ",
                       step.count > 0 ? concat(step.count, " of them")
                                      : concat(dropped, " up to block ", step.layers.back())));
  }
  std::vector<double> influences(static_cast<std::size_t>(count), 0.0);
  for (std::size_t i = 0; i < survey.size(); ++i) influences[i] = survey[i].influence;
  std::vector<std::int64_t> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  if (step.count > 0) {
    // Of equals the later block goes: early ones feed all others.
    std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
      return influences[static_cast<std::size_t>(a)] > influences[static_cast<std::size_t>(b)];
    });
    order.resize(static_cast<std::size_t>(count - step.count));
    std::sort(order.begin(), order.end());
  } else {
    std::erase_if(order, [&](std::int64_t block) {
      return std::binary_search(step.layers.begin(), step.layers.end(), block);
    });
  }
  return order;
}

LlamaConfig with_blocks(LlamaConfig config, const std::vector<std::int64_t>& blocks) {
  std::vector<BlockShape> shapes;
  for (const std::int64_t block : blocks) {
    shapes.push_back(config.blocks[static_cast<std::size_t>(block)]);
  }
  config.blocks = std::move(shapes);
  return config;
}

}  // namespace edgecompress
