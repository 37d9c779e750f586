// Replays the corpus of every reader, and mutates it:
//   fuzz CORPUS [--seconds S] [--seed N] [--only TARGET]
// Without --seconds each input is only replayed, with a few hundred mutations. An input that ends
// in anything but a result or an Error is written to fuzz-failure-<target> in the working folder.

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "base/error.h"
#include "fuzz/fuzz_targets.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr int kQuickMutations = 200;
constexpr std::size_t kLongestInput = 1 << 16;

struct Options {
  fs::path corpus;
  double seconds = 0;
  unsigned seed = 1;
  std::string only;
};

std::vector<std::string> read_corpus(const fs::path& folder) {
  std::vector<fs::path> paths;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> inputs;
  for (const fs::path& path : paths) {
    std::ifstream file(path, std::ios::binary);
    inputs.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return inputs;
}

/// Changes bytes, runs of bytes and numbers; joins parts of two inputs.
class Mutator {
 public:
  Mutator(const std::vector<std::string>& corpus, unsigned seed) : corpus_(corpus), random_(seed) {}

  std::string next() {
    std::string input = corpus_[below(corpus_.size())];
    for (std::size_t changes = 1 + below(4); changes > 0; --changes) change(input);
    if (input.size() > kLongestInput) input.resize(kLongestInput);
    return input;
  }

 private:
  std::size_t below(std::size_t limit) { return limit == 0 ? 0 : random_() % limit; }

  void change(std::string& input) {
    static const std::vector<std::string> kWords{"0",
                                                 "-1",
                                                 "1e999",
                                                 "18446744073709551615",
                                                 "9223372036854775807",
                                                 "null",
                                                 "true",
                                                 "[]",
                                                 "{}",
                                                 "\"\"",
                                                 "\\u0000",
                                                 "\\ud800",
                                                 "\xFF",
                                                 "../",
                                                 "NaN",
                                                 "\n",
                                                 "[",
                                                 "{",
                                                 "]",
                                                 "}",
                                                 "\t",
                                                 ",",
                                                 ":",
                                                 "\""};
    const std::size_t at = below(input.size() + 1);
    const std::size_t length = below(std::min<std::size_t>(input.size() - at, 24) + 1);
    switch (below(7)) {
      case 0:
        if (at < input.size()) input[at] = static_cast<char>(input[at] ^ (1 << below(8)));
        return;
      case 1:
        if (at < input.size()) input[at] = static_cast<char>(random_());
        return;
      case 2:
        input.erase(at, length);
        return;
      case 3:
        input.insert(at, input.substr(at, length));
        return;
      case 4:
        input.replace(at, length, kWords[below(kWords.size())]);
        return;
      case 5:
        input.insert(at, kWords[below(kWords.size())]);
        return;
      default: {
        const std::string& other = corpus_[below(corpus_.size())];
        input = input.substr(0, at) + other.substr(below(other.size() + 1));
      }
    }
  }

  const std::vector<std::string>& corpus_;
  std::mt19937 random_;
};

/// Whether the reader ended as it may; what it may not is kept in a file.
bool is_handled(const FuzzTarget& target, const std::string& input) {
  try {
    target.read(input);
    return true;
  } catch (const Error&) {
    return true;
  } catch (const std::exception& error) {
    std::cerr << target.name << ": " << error.what() << "\n";
  }
  std::ofstream("fuzz-failure-" + target.name, std::ios::binary) << input;
  return false;
}

bool fuzz(const FuzzTarget& target, const Options& options) {
  const std::vector<std::string> corpus = read_corpus(options.corpus / target.name);
  if (corpus.empty()) {
    std::cerr << target.name << ": no corpus\n";
    return false;
  }
  for (const std::string& input : corpus) {
    if (!is_handled(target, input)) return false;
  }
  Mutator mutator(corpus, options.seed);
  const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                      std::chrono::duration<double>(options.seconds));
  std::int64_t inputs = 0;
  while (inputs < kQuickMutations || Clock::now() < end) {
    if (!is_handled(target, mutator.next())) return false;
    ++inputs;
  }
  std::cout << target.name << ": " << corpus.size() << " inputs replayed, " << inputs
            << " mutations\n";
  return true;
}

Options parse_options(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const std::string value = i + 1 < argc ? argv[i + 1] : "";
    if (argument == "--seconds") {
      options.seconds = std::atof(value.c_str());
    } else if (argument == "--seed") {
      options.seed = static_cast<unsigned>(std::atoi(value.c_str()));
    } else if (argument == "--only") {
      options.only = value;
    } else {
      options.corpus = argument;
      continue;
    }
    ++i;
  }
  return options;
}

}  // namespace

int fuzz_all(int argc, char** argv) {
  const Options options = parse_options(argc, argv);
  bool good = true;
  for (const FuzzTarget& target : fuzz_targets()) {
    if (options.only.empty() || options.only == target.name) good = fuzz(target, options) && good;
  }
  return good ? 0 : 1;
}

}  // namespace edgecompress

int main(int argc, char** argv) { return edgecompress::fuzz_all(argc, argv); }
