#pragma once

#include "report/report.h"

namespace edgecompress {

/// A report in which every field is set, each to another value.
inline Report sample_report() {
  Report report;
  report.tool_version = "0.1.0";
  report.command = "run";
  report.model_name = "mini-llama";
  report.model_config_sha256 = "c0ffee";
  report.input_manifest_sha256 = "decade";
  report.recipe = "name: x\n";
  report.recipe_sha256 = "facade";
  report.parameters_before = 1'235'814'400;
  report.parameters_after = 1'041'000'000;
  report.bytes_before = 2'471'628'800;
  report.bytes_after = 702'000'000;
  report.sparsity = 0.0975;
  report.stages = {
      {.stage = "dense",
       .parameters = 1'235'814'400,
       .size_bytes = 2'471'628'800,
       .sparsity = 0,
       .perplexity = 12.5,
       .kl_divergence_nats = {},
       .top1_agreement = {}},
      {.stage = "pruned",
       .parameters = 1'041'000'000,
       .size_bytes = 2'082'000'000,
       .sparsity = 0.001,
       .perplexity = 15.0,
       .kl_divergence_nats = 0.21,
       .top1_agreement = 0.81},
      {.stage = "artifact",
       .parameters = 1'041'000'000,
       .size_bytes = 702'000'000,
       .sparsity = 0.0975,
       .perplexity = 15.75,
       .kl_divergence_nats = 0.0005,
       .top1_agreement = 0.775},
  };
  report.evaluation = EvaluationReport{.protocol = "gptq",
                                       .text = "evaluation.txt",
                                       .window = 512,
                                       .windows = 40,
                                       .target_tokens = 20'440,
                                       .token_sha256 = "decade",
                                       .dtype = "float32"};
  report.block_training =
      BlockTrainingReport{.text = "train.txt",
                          .token_sha256 = "abba",
                          .window = 256,
                          .training_windows = 90,
                          .held_out_windows = 10,
                          .perplexity_before = 16.5,
                          .perplexity_after = 15.75,
                          .kept = true,
                          .activations = "int8-per-block",
                          .gate = 0.01,
                          .perplexity_increase = 0.0625,
                          .blocks = {{.block = 3,
                                      .outcome = {.trained_parameters = 98'304,
                                                  .steps_planned = 46,
                                                  .steps_done = 40,
                                                  .kept_step = 35,
                                                  .held_out_loss_before = 0.25,
                                                  .held_out_loss_after = 0.125}}},
                          .warnings = {}};
  report.training = TrainingReport{
      .trained = "scales",
      .loss = "divergence",
      .text = "train.txt",
      .token_sha256 = "abba",
      .window = 256,
      .training_windows = 90,
      .held_out_windows = 10,
      .outcome = {.trained_parameters = 159'744,
                  .steps_planned = 36,
                  .steps_done = 24,
                  .kept_step = 12,
                  .held_out_loss_before = 0.0625,
                  .held_out_loss_after = 0.03125},
      .activations = "int8-per-block",
      .gate = 0.01,
      .perplexity_increase = 0.0375,
      .curve =
          {{.step = 0, .tokens = 0, .learning_rate_share = 1, .loss = {}, .held_out_loss = 0.0625},
           {.step = 12,
            .tokens = 24'576,
            .learning_rate_share = 0.75,
            .loss = 0.046875,
            .held_out_loss = 0.03125}},
      .warnings = {}};
  report.artifact =
      ArtifactReport{.format = "genai-sparse",
                     .activations = "int8-per-token",
                     .onnxruntime_version = "1.32.0",
                     .max_logit_error = 1.24e-5,
                     .mean_logit_error = 2.5e-6,
                     .kl_divergence_nats = 3e-10,
                     .top1_agreement = 0.999,
                     .cache_split_error = 4.5e-6,
                     .perplexity_exact = 15.7,
                     .perplexity_published = 15.75,
                     .size_bytes = 702'000'001,
                     .products = {{.module = "model.layers.3.mlp.up_proj",
                                   .form = "16x4",
                                   .weights = 4000,
                                   .sparsity = 0.55,
                                   .stored_share = 0.5,
                                   .bytes = 1200,
                                   .reason = "16x4 leaves out 50.0 %, pays from 10.0 %"}},
                     .file_sha256 = {{"model.onnx", "beef"}, {"model.onnx.data", "cafe"}}};
  report.tensors = {{.name = "model.layers.3.mlp.up_proj",
                     .shape_before = {8192, 2048},
                     .shape_after = {6560, 2048},
                     .stored_as = "int4",
                     .bits = 4,
                     .group_size = 32,
                     .symmetric = false,
                     .activations = "int8-per-token",
                     .sparsity_target = 0.1,
                     .sparsity = 0.11,
                     .relative_output_error = 0.0375,
                     .relative_nearest_error = 0.0625,
                     .damping_rung = 1,
                     .clipped_share = 0.0025,
                     .input_scale_exponent = 0.45,
                     .block_error_before = 0.08,
                     .block_error_after = 0.06,
                     .fallbacks = {"rtn instead of gptq"},
                     .relative_weight_error = 0.0125,
                     .bytes_before = 33'554'432,
                     .bytes_after = 8'396'800}};
  report.gates = {
      {.metric = GateMetric::PerplexityIncrease, .limit = 0.3, .value = 0.26, .passed = true},
      {.metric = GateMetric::SizeBytes, .limit = 5e8, .value = 702'000'000, .passed = false}};
  report.warnings = {"R18: something is odd"};
  report.environment = {.started_at = "2001-02-03T04:05:06Z",
                        .wall_seconds = 61.5,
                        .stage_seconds = {{"prune", 20.5}, {"quantize", 30.25}},
                        .peak_rss_bytes = 3'000'000'000,
                        .cpu = "some CPU",
                        .instruction_set = "AVX2",
                        .num_threads = 6,
                        .dense_prefill_tokens_per_second = 101.5,
                        .dense_decode_tokens_per_second = 11.5,
                        .artifact_prefill_tokens_per_second = 202.5,
                        .artifact_decode_tokens_per_second = 33.5};
  return report;
}

}  // namespace edgecompress
