// Times PanelSparseMatMul against ONNX Runtime's dense quantized products, all in one process and
// in turns: other load on the machine then slows all of them alike, and the ratio of a turn stays
// meaningful.
//
//   bench_panel_sparse [--rows N] [--columns K] [--layers L] [--threads T] [--tokens M] [--turns R]
//   [--only text] [--operators library]
//
// --only measures the sparse forms whose name, as "int4 16x4 50", contains the text.
// EDGECOMPRESS_ONNXRUNTIME names another ONNX Runtime.
//
// Each candidate is a graph of L products of its own weights with one input. Choose L so that the
// weights do not fit in the processor's cache, as in a real decoder. Prints a table of medians and
// of ratios to the fastest dense candidate of the same bits.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <time.h>

#include "base/error.h"
#include "ort/session.h"
#include "panel_sparse/panel_sparse_matrix.h"
#include "support/temp_dir.h"
#include "support/tiny_onnx.h"

using namespace edgecompress;

namespace {

struct Options {
  std::int64_t rows = 4096;
  std::int64_t columns = 4096;
  std::int64_t layers = 10;
  int threads = 1;
  std::int64_t tokens = 1;
  int turns = 30;
  std::string only;
  std::string operators = EDGECOMPRESS_OPS_LIBRARY;
};

struct Candidate {
  std::string name;
  int bits;
  bool dense;
  double bytes_per_weight;
  OnnxSession session;
  std::vector<double> milliseconds = {};  ///< wall time per layer, by turn
  std::vector<double> cpu_milliseconds =
      {};  ///< of all threads, which waiting for a processor does not add to
};

Options read_options(int count, char** values) {
  Options options;
  for (int i = 1; i + 1 < count; i += 2) {
    const std::string key = values[i];
    const std::int64_t number = std::atoll(values[i + 1]);
    if (key == "--rows") options.rows = number;
    if (key == "--columns") options.columns = number;
    if (key == "--layers") options.layers = number;
    if (key == "--threads") options.threads = static_cast<int>(number);
    if (key == "--tokens") options.tokens = number;
    if (key == "--turns") options.turns = static_cast<int>(number);
    if (key == "--only") options.only = values[i + 1];
    if (key == "--operators") options.operators = values[i + 1];
  }
  return options;
}

OnnxSession open_graph(const OnnxRuntime& runtime, const Options& options, const TinyOnnx& onnx) {
  const TempDir folder;
  return {runtime,
          folder.write("bench.onnx", onnx.model()),
          {.num_threads = options.threads,
           .custom_ops_library = options.operators,
           .config_entries = {{"session.intra_op.allow_spinning", "0"}}}};
}

TinyOnnx begin_graph(const Options& options) {
  TinyOnnx onnx;
  onnx.input("x", TinyOnnx::kFloat, {-1, options.columns});
  return onnx;
}

std::vector<std::uint8_t> random_bytes(std::size_t count) {
  static std::mt19937_64 random(1);
  std::vector<std::uint8_t> bytes(count);
  for (std::size_t i = 0; i + 8 <= count; i += 8) {
    const std::uint64_t eight = random();
    std::memcpy(bytes.data() + i, &eight, 8);
  }
  return bytes;
}

Candidate dense(const OnnxRuntime& runtime, const Options& options, int bits, std::int64_t block) {
  TinyOnnx onnx = begin_graph(options);
  const std::int64_t blocks = options.columns / block;
  const std::int64_t blob = block * bits / 8;
  for (std::int64_t layer = 0; layer < options.layers; ++layer) {
    const std::string id = std::to_string(layer);
    onnx.initializer(
        "w" + id, TinyOnnx::kUint8, {options.rows, blocks, blob},
        bytes_of(random_bytes(static_cast<std::size_t>(options.rows * blocks * blob))));
    onnx.initializer(
        "s" + id, TinyOnnx::kFloat, {options.rows * blocks},
        bytes_of(std::vector<float>(static_cast<std::size_t>(options.rows * blocks), 0.01F)));
    onnx.node("com.microsoft", "MatMulNBits", {"x", "w" + id, "s" + id}, {"y" + id},
              {{"K", options.columns},
               {"N", options.rows},
               {"bits", bits},
               {"block_size", block},
               {"accuracy_level", 4}});
    onnx.output("y" + id, TinyOnnx::kFloat);
  }
  return {.name = concat("MatMulNBits int", bits, " block ", block),
          .bits = bits,
          .dense = true,
          .bytes_per_weight = bits / 8.0 + 4.0 / static_cast<double>(block),
          .session = open_graph(runtime, options, onnx)};
}

/// What ONNX's own operators offer for 8 bits: one scale per column, activations rounded per call.
Candidate dynamic_int8(const OnnxRuntime& runtime, const Options& options) {
  TinyOnnx onnx = begin_graph(options);
  onnx.node("", "DynamicQuantizeLinear", {"x"}, {"q", "scale", "zero"}, {});
  for (std::int64_t layer = 0; layer < options.layers; ++layer) {
    const std::string id = std::to_string(layer);
    const std::vector<std::uint8_t> weights =
        random_bytes(static_cast<std::size_t>(options.rows * options.columns));
    onnx.initializer("w" + id, TinyOnnx::kInt8, {options.columns, options.rows}, bytes_of(weights));
    onnx.node("", "MatMulInteger", {"q", "w" + id, "zero"}, {"i" + id}, {});
    onnx.node("", "Cast", {"i" + id}, {"f" + id}, {{"to", TinyOnnx::kFloat}});
    onnx.node("", "Mul", {"f" + id, "scale"}, {"y" + id}, {});
    onnx.output("y" + id, TinyOnnx::kFloat);
  }
  return {.name = "MatMulInteger int8",
          .bits = 8,
          .dense = true,
          .bytes_per_weight = 1,
          .session = open_graph(runtime, options, onnx)};
}

std::vector<std::uint8_t> random_blob(const Options& options, const PanelSparseForm& form,
                                      double density) {
  static std::mt19937 random(2);
  const auto weights = static_cast<std::size_t>(options.rows * options.columns);
  const std::vector<std::uint8_t> noise = random_bytes(weights);
  std::vector<std::int8_t> codes(weights);
  for (std::size_t i = 0; i < weights; ++i) {
    codes[i] = static_cast<std::int8_t>(form.bits == 8 ? noise[i] - 128 : noise[i] % 16 - 8);
  }
  std::vector<std::uint8_t> keep(weights);
  std::uniform_real_distribution<double> share(0, 1);
  for (std::int64_t row = 0; row < options.rows; row += form.shared_rows) {
    for (std::int64_t column = 0; column < options.columns; column += form.column_block) {
      if (share(random) >= density) continue;
      for (std::int64_t r = row; r < std::min(options.rows, row + form.shared_rows); ++r) {
        std::fill_n(keep.begin() + r * options.columns + column,
                    std::min<std::int64_t>(form.column_block, options.columns - column),
                    std::uint8_t{1});
      }
    }
  }
  const std::int64_t groups = (options.columns + form.group - 1) / form.group;
  const std::vector<float> scales(static_cast<std::size_t>(options.rows * groups), 0.01F);
  return pack_panel_sparse(form, options.rows, options.columns, codes, scales, keep);
}

Candidate sparse(const OnnxRuntime& runtime, const Options& options, const PanelSparseForm& form,
                 double density) {
  TinyOnnx onnx = begin_graph(options);
  const std::vector<std::uint8_t> blob =
      random_blob(options, form, density);  // each layer has a copy
  for (std::int64_t layer = 0; layer < options.layers; ++layer) {
    const std::string id = std::to_string(layer);
    onnx.initializer("w" + id, TinyOnnx::kUint8, {std::ssize(blob)}, bytes_of(blob));
    onnx.node("ai.edgecompress", "PanelSparseMatMul", {"x", "w" + id}, {"y" + id},
              {{"K", options.columns},
               {"N", options.rows},
               {"accuracy_level", 4},
               {"format_version", 1}});
    onnx.output("y" + id, TinyOnnx::kFloat);
  }
  return {.name = concat("sparse int", form.bits, " ", form.shared_rows, "x", form.column_block,
                         " ", 100 - density * 100, " %"),
          .bits = form.bits,
          .dense = false,
          .bytes_per_weight = static_cast<double>(blob.size()) /
                              static_cast<double>(options.rows * options.columns),
          .session = open_graph(runtime, options, onnx)};
}

std::vector<Candidate> make_candidates(const OnnxRuntime& runtime, const Options& options) {
  std::vector<Candidate> all;
  all.push_back(dynamic_int8(runtime, options));
  for (const int bits : {4, 8}) {
    for (const std::int64_t block : {32, 128}) all.push_back(dense(runtime, options, bits, block));
    for (const auto& [rows, block] : {std::pair{16, 4}, {16, 1}, {8, 1}, {4, 1}, {1, 1}}) {
      for (const double density : {1.0, 0.7, 0.5, 0.3, 0.2}) {
        const std::string name =
            concat("int", bits, " ", rows, "x", block, " ", 100 - density * 100);
        if (name.find(options.only) == std::string::npos) continue;
        all.push_back(sparse(runtime, options,
                             {.bits = bits,
                              .shared_rows = rows,
                              .column_block = block,
                              .group = 128,
                              .scale_type = ScaleType::Float16},
                             density));
      }
    }
  }
  return all;
}

double cpu_now_ms() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) * 1e-6;
}

void take_turns(std::vector<Candidate>& candidates, const Options& options) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<std::size_t>(options.tokens * options.columns));
  for (float& value : x) value = normal(random);
  const std::vector<OnnxTensor> inputs{{"x", {options.tokens, options.columns}, x}};
  for (int turn = -1; turn < options.turns; ++turn) {  // the first one warms up
    for (Candidate& candidate : candidates) {
      const auto begin = std::chrono::steady_clock::now();
      const double cpu_begin = cpu_now_ms();
      candidate.session.run(inputs);
      const std::chrono::duration<double, std::milli> took =
          std::chrono::steady_clock::now() - begin;
      const double cpu_took = cpu_now_ms() - cpu_begin;
      if (turn < 0) continue;
      candidate.milliseconds.push_back(took.count() / static_cast<double>(options.layers));
      candidate.cpu_milliseconds.push_back(cpu_took / static_cast<double>(options.layers));
    }
  }
}

double quantile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(share * static_cast<double>(values.size() - 1))];
}

/// Bytes per nanosecond that `threads` threads read together from memory, the best of several
/// tries.
double memory_bandwidth(int threads) {
  const std::size_t count = (std::size_t{512} << 20) / sizeof(std::uint64_t);
  const std::vector<std::uint64_t> memory(count, 1);
  const std::uint64_t* const block = memory.data();
  double best = 0;
  for (int round = 0; round < 10; ++round) {
    std::vector<std::uint64_t> sums(static_cast<std::size_t>(threads) * 8);
    const auto begin = std::chrono::steady_clock::now();
    std::vector<std::thread> team;
    const std::size_t part = count / static_cast<std::size_t>(threads);
    for (std::size_t t = 0; t < static_cast<std::size_t>(threads); ++t) {
      team.emplace_back([&, t] {
        std::uint64_t sum[8] = {};
        for (std::size_t i = t * part; i + 8 <= (t + 1) * part; i += 8) {
          for (std::size_t lane = 0; lane < 8; ++lane) sum[lane] ^= block[i + lane];
        }
        for (const std::uint64_t each : sum) sums[t * 8] += each;
      });
    }
    for (std::thread& one : team) one.join();
    const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - begin;
    best = std::max(best, static_cast<double>(count * sizeof(std::uint64_t)) / took.count());
    if (sums[0] == 42) std::puts("");  // so that the reading is not optimized away
  }
  return best;
}

/// The median over turns of how many times `candidate` is faster than `base`.
double median_ratio(const std::vector<double>& base, const std::vector<double>& candidate) {
  std::vector<double> ratios;
  for (std::size_t turn = 0; turn < base.size(); ++turn) {
    ratios.push_back(base[turn] / candidate[turn]);
  }
  return quantile(ratios, 0.5);
}

const Candidate& fastest_dense(const std::vector<Candidate>& candidates, int bits) {
  const Candidate* best = nullptr;
  for (const Candidate& each : candidates) {
    // MatMulInteger rounds activations per call, which costs accuracy: shown, but not the measure.
    if (!each.dense || each.bits != bits || each.bytes_per_weight == 1) continue;
    if (best == nullptr ||
        quantile(each.cpu_milliseconds, 0.5) < quantile(best->cpu_milliseconds, 0.5)) {
      best = &each;
    }
  }
  return *best;
}

void print(const std::vector<Candidate>& candidates, const Options& options) {
  const double bandwidth = memory_bandwidth(options.threads);
  std::printf(
      "%lld x %lld, %lld layers, %d thread(s), %lld token(s), %d turns; memory reads %.1f GB/s\n",
      static_cast<long long>(options.rows), static_cast<long long>(options.columns),
      static_cast<long long>(options.layers), options.threads,
      static_cast<long long>(options.tokens), options.turns, bandwidth);
  std::printf("%-28s %8s %9s %8s %9s %8s %9s %9s %9s\n", "candidate", "bytes/w", "median ms",
              "spread", "least ms", "x dense", "cpu ms", "x dense", "x memory");
  for (const Candidate& candidate : candidates) {
    const Candidate& base = fastest_dense(candidates, candidate.bits);
    const double weights = static_cast<double>(options.rows * options.columns);
    const double memory_ms = candidate.bytes_per_weight * weights / bandwidth * 1e-6;
    const double median = quantile(candidate.milliseconds, 0.5);
    const double spread =
        quantile(candidate.milliseconds, 0.75) - quantile(candidate.milliseconds, 0.25);
    std::printf("%-28s %8.3f %9.3f %7.0f%% %9.3f %8.2f %9.3f %9.2f %9.2f\n", candidate.name.c_str(),
                candidate.bytes_per_weight, median, spread / median * 100,
                quantile(candidate.milliseconds, 0),
                median_ratio(base.milliseconds, candidate.milliseconds),
                quantile(candidate.cpu_milliseconds, 0.5),
                median_ratio(base.cpu_milliseconds, candidate.cpu_milliseconds),
                median / memory_ms);
  }
}

}  // namespace

int main(int count, char** values) {
  const Options options = read_options(count, values);
  const OnnxRuntime runtime(find_onnxruntime({}));
  std::vector<Candidate> candidates = make_candidates(runtime, options);
  take_turns(candidates, options);
  print(candidates, options);
}
