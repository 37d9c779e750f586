#include "verify/input_manifest.h"

#include <algorithm>
#include <cctype>
#include <vector>

#include "base/error.h"
#include "base/file_hash.h"
#include "base/mapped_file.h"
#include "base/parallel.h"
#include "base/sha256.h"
#include "checkpoint/file_kind.h"
#include "llama/folder_files.h"
#include "verify/hashed_bytes.h"
#include "verify/manifest.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kLargestManifest = std::uint64_t{64} << 20;
constexpr std::size_t kDigits = 64;

struct ListedFile {
  std::string name;
  std::string sha256;
};

ListedFile parse_line(std::string_view line, const std::string& where) {
  std::string digits(line.substr(0, kDigits));
  std::transform(digits.begin(), digits.end(), digits.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const bool separated = line.size() > kDigits + 2 && line[kDigits] == ' ' &&
                         (line[kDigits + 1] == ' ' || line[kDigits + 1] == '*');
  if (!is_sha256(digits) || !separated) {
    throw Error(ErrorKind::Malformed, "V1",
                concat(where,
                       ": expected a line of sha256sum (64 hexadecimal digits, two blanks, a "
                       "file name), found \"",
                       shown_text(line.substr(0, 80)), "\""));
  }
  std::string_view name = line.substr(kDigits + 2);
  if (name.starts_with("./")) name.remove_prefix(2);
  return {std::string(name), digits};
}

std::map<std::string, std::string> parse_lines(std::string_view text, const std::string& source) {
  std::map<std::string, std::string> hashes;
  for (int number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    const std::string where = concat(source, ", line ", number);
    const ListedFile listed = parse_line(line, where);
    const auto [before, added] = hashes.emplace(listed.name, listed.sha256);
    if (added || before->second == listed.sha256) continue;
    throw Error(ErrorKind::Malformed, "V1",
                concat(where, ": lists ", shown_text(listed.name), " again, with another SHA-256"));
  }
  return hashes;
}

/// What is wrong with a file of the model; empty when it is the listed one.
std::string complaint(const fs::path& path, const std::map<std::string, std::string>& hashes,
                      HashedBytes& hashed) {
  const std::string name = path.filename().string();
  const auto listed = hashes.find(name);
  if (listed == hashes.end()) return concat("\n  ", shown_text(name), ": not listed");
  const MappedFile file(path);
  const std::string found = sha256_of_file(file, [&](std::size_t bytes) { hashed.add(bytes); });
  if (found == listed->second) return {};
  return concat("\n  ", shown_text(name), ": sha256 ", found, ", listed ", listed->second);
}

}  // namespace

std::map<std::string, std::string> parse_input_hashes(std::string_view text,
                                                      const std::string& source) {
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos || text[first] != '{') return parse_lines(text, source);
  std::map<std::string, std::string> hashes;
  for (const auto& [name, entry] : parse_manifest(text, source).files) hashes[name] = entry.sha256;
  return hashes;
}

std::string check_input_hashes(const fs::path& model, const fs::path& manifest, int num_threads,
                               const Progress& progress) {
  const std::string list = read_text_file(manifest, kLargestManifest);
  const std::map<std::string, std::string> hashes = parse_input_hashes(list, manifest.string());
  const std::vector<std::string> names = computed_files(model);
  std::uint64_t bytes = 0;
  for (const std::string& name : names) {
    std::error_code refused_below;  // by MappedFile, with its reason
    const std::uintmax_t size = fs::file_size(model / name, refused_below);
    if (!refused_below) bytes += size;
  }
  HashedBytes hashed(bytes, progress);
  std::vector<std::string> complaints(names.size());
  parallel_for(static_cast<std::int64_t>(names.size()), 1, num_threads,
               [&](std::int64_t index, std::int64_t) {
                 const auto at = static_cast<std::size_t>(index);
                 complaints[at] = complaint(model / names[at], hashes, hashed);
               });
  std::string all;
  for (const std::string& each : complaints) all += each;
  if (all.empty()) return sha256_hex(std::as_bytes(std::span(list)));
  throw Error(ErrorKind::Malformed, "I-HASH",
              concat("the files of ", model.string(), " are not those that ", manifest.string(),
                     " lists:", all, "\n  get them again, or the list that belongs to them"));
}

}  // namespace edgecompress
