#include "base/mapped_file.h"

#include <chrono>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/outside_link.h"
#include "support/catch.h"
#include "support/refusal.h"
#include "support/temp_dir.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Text that differs from position to position, of a few pages.
std::string long_text() {
  std::string text;
  for (int i = 0; text.size() < 20'000; ++i) text += std::to_string(i);
  return text;
}

/// Runs `body` as a user who owns nothing: root may read every file.
void without_rights(const std::function<void()>& body) {
  constexpr uid_t kNobody = 65534;
  const bool root = ::geteuid() == 0;
  if (root) REQUIRE(::seteuid(kNobody) == 0);
  body();
  if (root) REQUIRE(::seteuid(0) == 0);
}

TEST_CASE("a mapped file shows the file's bytes, also after it was moved and dropped") {
  const TempDir temp;
  const std::string text = long_text();
  MappedFile first(temp.write("f", text));
  const MappedFile file(std::move(first));
  CHECK(file.path() == temp.path() / "f");
  REQUIRE(file.bytes().size() == text.size());
  for (const std::size_t begin : {0, 1, 4096, 5000}) {
    file.drop(file.bytes().subspan(begin, 9000));
    CHECK(text_of(file.bytes()) == text);
  }
}

TEST_CASE("an empty file maps to no bytes") {
  const TempDir temp;
  const MappedFile file(temp.write("empty", ""));
  CHECK(file.bytes().empty());
  file.drop(file.bytes());
  file.ensure_unchanged();
}

TEST_CASE("what is no readable regular file is refused as missing") {
  const TempDir temp;
  const fs::path path = temp.path() / "x";
  std::string words;
  SECTION("absent") { words = "No such file"; }
  SECTION("a folder") {
    fs::create_directory(path);
    words = "not a regular file";
  }
  SECTION("a pipe, without waiting for a writer") {
    REQUIRE(::mkfifo(path.c_str(), 0644) == 0);
    words = "not a regular file";
  }
  SECTION("a device") {
    fs::create_symlink("/dev/null", path);
    words = "not a regular file";
  }
  SECTION("a file without the right to read it") {
    fs::permissions(temp.write("x", "secret"), fs::perms::none);
    words = "Permission denied";
  }
  fs::permissions(temp.path(), fs::perms::all);
  std::optional<Refusal> refusal;
  without_rights([&] { refusal = refusal_of([&] { const MappedFile file(path); }); });
  REQUIRE(refusal.has_value());
  CHECK(refusal->kind == ErrorKind::Missing);
  CHECK(refusal->says(path.string()));
  CHECK(refusal->says(words));
}

TEST_CASE("a file that changes while it is mapped is noticed") {
  const TempDir temp;
  const fs::path path = temp.write("f", long_text());
  const MappedFile file(path);
  file.ensure_unchanged();
  SECTION("longer") { temp.write("f", long_text() + "x"); }
  SECTION("of the same length, written again") {
    fs::last_write_time(path, fs::last_write_time(path) + std::chrono::nanoseconds(1000));
  }
  const auto refusal = refusal_of([&] { file.ensure_unchanged(); });
  REQUIRE(refusal.has_value());
  CHECK(refusal->code == "S38");
}

TEST_CASE("a text file is read whole, or refused by its size") {
  const TempDir temp;
  const fs::path path = temp.write("f", "abc");
  CHECK(read_text_file(path, 3) == "abc");
  const auto refusal = refusal_of([&] { read_text_file(path, 2); });
  REQUIRE(refusal.has_value());
  CHECK(refusal->kind == ErrorKind::Malformed);
  CHECK(refusal->says("3 bytes; at most 2"));
}

TEST_CASE("a link may stay in the folder or lead into the cache that the folder is part of") {
  const TempDir temp;
  temp.write("hub/blobs/1234", "content");
  const fs::path folder = temp.path() / "hub/snapshots/main";
  temp.write("hub/snapshots/main/real", "content");
  temp.write("hub/other", "content");
  fs::create_symlink("real", folder / "inside");
  fs::create_symlink("../../blobs/1234", folder / "cached");
  fs::create_symlink("../../other", folder / "outside");
  for (const char* const name : {"real", "inside", "cached", "absent"}) {
    INFO(name);
    CHECK_FALSE(refusal_of([&] { refuse_outside_link(folder, folder / name); }).has_value());
  }
  const auto refusal = refusal_of([&] { refuse_outside_link(folder, folder / "outside"); });
  REQUIRE(refusal.has_value());
  CHECK(refusal->code == "I7");
  CHECK(refusal->says((temp.path() / "hub/other").string()));
}

}  // namespace
}  // namespace edgecompress
