#include "base/staged_output.h"

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <iterator>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/sha256.h"
#include "support/catch.h"
#include "support/refusal.h"
#include "support/temp_dir.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;

std::string file_text(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::set<std::string> names_in(const fs::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.insert(entry.path().filename());
  return names;
}

std::string hash_of(const std::string& text) {
  return sha256_hex(std::as_bytes(std::span(text.data(), text.size())));
}

/// Refuses with this code, and leaves nothing behind.
void check_refused(const TempDir& temp, const fs::path& target, const std::vector<fs::path>& inputs,
                   ExistingOutput existing, const std::string& code) {
  const auto before = names_in(temp.path());
  const auto refusal = refusal_of([&] { const StagedFolder folder(target, inputs, existing); });
  REQUIRE(refusal.has_value());
  INFO(refusal->message);
  CHECK(refusal->code == code);
  CHECK(names_in(temp.path()) == before);
}

TEST_CASE("a staged folder appears whole when it is published, and not before") {
  const TempDir temp;
  const fs::path target = temp.path() / "out";
  StagedFolder folder(target, {}, ExistingOutput::Refuse);
  CHECK(folder.write("a.txt", "alpha") == hash_of("alpha"));
  CHECK(folder.write("sub/b.txt", "beta") == hash_of("beta"));
  CHECK_FALSE(fs::exists(target));
  folder.publish();
  CHECK(file_text(target / "a.txt") == "alpha");
  CHECK(file_text(target / "sub/b.txt") == "beta");
  CHECK(names_in(target) == std::set<std::string>{"a.txt", "sub"});
}

TEST_CASE("what is not published leaves nothing, whatever stood there before") {
  const TempDir temp;
  temp.write("out/edgecompress.manifest.json", "{}");
  temp.write("out/old", "old");
  {
    StagedFolder folder(temp.path() / "out", {}, ExistingOutput::Replace);
    folder.write("new", "new");
  }
  CHECK(names_in(temp.path()) == std::set<std::string>{"out"});
  CHECK(file_text(temp.path() / "out/old") == "old");
}

TEST_CASE("an output of ours is replaced whole") {
  const TempDir temp;
  temp.write("out/edgecompress.manifest.json", "{}");
  temp.write("out/old", "old");
  {
    StagedFolder folder(temp.path() / "out", {}, ExistingOutput::Replace);
    folder.write("new", "new");
    folder.publish();
  }
  CHECK(names_in(temp.path()) == std::set<std::string>{"out"});
  CHECK(names_in(temp.path() / "out") == std::set<std::string>{"new"});
}

TEST_CASE("an impossible output is refused before any work") {
  const TempDir temp;
  temp.write("foreign/file", "x");
  temp.write("ours/edgecompress.manifest.json", "{}");
  temp.write("input/model", "x");
  const fs::path& root = temp.path();
  check_refused(temp, root / "ours", {}, ExistingOutput::Refuse, "O-CREATE");
  check_refused(temp, root / "foreign", {}, ExistingOutput::Replace, "O-CREATE");
  check_refused(temp, root / "foreign/file/out", {}, ExistingOutput::Refuse, "O-CREATE");
  check_refused(temp, root / "absent/out", {}, ExistingOutput::Refuse, "O-CREATE");
  check_refused(temp, root / "input/out", {root / "input"}, ExistingOutput::Refuse, "O-NESTED");
  check_refused(temp, root / "input", {root / "input"}, ExistingOutput::Replace, "O-NESTED");
  check_refused(temp, root, {root / "input"}, ExistingOutput::Replace, "O-NESTED");
  check_refused(temp, root / "x/../input/out", {root / "input"}, ExistingOutput::Refuse,
                "O-NESTED");
}

TEST_CASE("a second writer of one output is refused while the first works") {
  const TempDir temp;
  const fs::path target = temp.path() / "out";
  {
    const StagedFolder first(target, {}, ExistingOutput::Refuse);
    const auto refusal =
        refusal_of([&] { const StagedFolder second(target, {}, ExistingOutput::Refuse); });
    REQUIRE(refusal.has_value());
    CHECK(refusal->kind == ErrorKind::Conflict);
  }
  CHECK_FALSE(refusal_of([&] { const StagedFolder third(target, {}, ExistingOutput::Refuse); }));
}

/// Another run's lock, held until release(); released as that run's destructor does.
class HeldLock {
 public:
  explicit HeldLock(const fs::path& target)
      : path_(target.string() + ".lock"),
        descriptor_(::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
    REQUIRE(::flock(descriptor_, LOCK_EX) == 0);
  }
  void release() {
    fs::remove(path_);
    ::close(descriptor_);
  }

 private:
  fs::path path_;
  int descriptor_;
};

constexpr std::chrono::milliseconds kShorterThanAWriterWaits{15};

/// What becomes of a writer that waits for a lock while `meanwhile` runs and the lock is released.
/// A writer that has given up waiting is sent again: only what follows a lock is of interest here.
std::optional<Refusal> waiting_writer(const fs::path& target,
                                      const std::function<void()>& meanwhile,
                                      std::optional<StagedFolder>& folder) {
  for (;;) {
    HeldLock lock(target);
    auto writer = std::async(std::launch::async, [&] {
      return refusal_of(
          [&] { folder.emplace(target, std::vector<fs::path>{}, ExistingOutput::Refuse); });
    });
    std::this_thread::sleep_for(kShorterThanAWriterWaits);
    meanwhile();
    lock.release();
    const std::optional<Refusal> refusal = writer.get();
    if (!refusal || refusal->kind != ErrorKind::Conflict) return refusal;
    fs::remove_all(target);
  }
}

TEST_CASE("a writer that waited for another's lock does not work for an output that is there") {
  const TempDir temp;
  const fs::path target = temp.path() / "out";
  std::optional<StagedFolder> folder;
  const auto refusal = waiting_writer(target, [&] { fs::create_directory(target); }, folder);
  REQUIRE(refusal.has_value());
  CHECK(refusal->kind == ErrorKind::Output);
  CHECK(names_in(temp.path()) == std::set<std::string>{"out"});
}

TEST_CASE("a lock that its holder has deleted keeps nobody out, and is not taken") {
  const TempDir temp;
  const fs::path target = temp.path() / "out";
  std::optional<StagedFolder> folder;
  REQUIRE_FALSE(waiting_writer(target, [] {}, folder));
  const auto refusal =
      refusal_of([&] { const StagedFolder second(target, {}, ExistingOutput::Refuse); });
  REQUIRE(refusal.has_value());
  CHECK(refusal->kind == ErrorKind::Conflict);
}

TEST_CASE("an output that someone else made during a run is not replaced") {
  const TempDir temp;
  const fs::path target = temp.path() / "out";
  StagedFolder folder(target, {}, ExistingOutput::Refuse);
  folder.write("edgecompress.manifest.json", "{}");
  fs::create_directory(target);
  const auto refusal = refusal_of([&] { folder.publish(); });
  REQUIRE(refusal.has_value());
  CHECK(refusal->kind == ErrorKind::Output);
  CHECK(fs::is_empty(target));
}

TEST_CASE("a staged file is appended, padded, cut to its size and hashed") {
  const TempDir temp;
  StagedFolder folder(temp.path() / "out", {}, ExistingOutput::Refuse);
  StagedFile file = folder.create("f", 1000);  // more than will be written
  file.append("abc");
  file.pad_to(8);
  file.pad_to(8);
  file.append("d");
  CHECK(file.size_bytes() == 9);
  const std::string expected("abc\0\0\0\0\0d", 9);
  CHECK(file.close() == hash_of(expected));
  CHECK(file_text(folder.path() / "f") == expected);
}

TEST_CASE("a name outside the folder is a programmer's error, and a name twice is refused") {
  const TempDir temp;
  StagedFolder folder(temp.path() / "out", {}, ExistingOutput::Refuse);
  CHECK_THROWS_AS(folder.create("../x"), std::logic_error);
  CHECK_THROWS_AS(folder.create("/tmp/x"), std::logic_error);
  folder.write("f", "1");
  CHECK_THROWS_AS(folder.write("f", "2"), Error);
}

TEST_CASE("an output without room is refused when its file is created") {
  const TempDir temp;
  StagedFolder folder(temp.path() / "out", {}, ExistingOutput::Refuse);
  const auto refusal = refusal_of([&] { folder.create("f", std::uint64_t{1} << 62); });
  REQUIRE(refusal.has_value());
  CHECK(refusal->kind == ErrorKind::Io);
  CHECK(refusal->code == "F-WRITE");
}

TEST_CASE("one file is replaced in one step") {
  const TempDir temp;
  const fs::path path = temp.write("f", "old");
  write_file_atomically(path, "new");
  CHECK(file_text(path) == "new");
  CHECK(names_in(temp.path()) == std::set<std::string>{"f"});
  const auto refusal = refusal_of([&] { write_file_atomically(temp.path() / "absent/f", "x"); });
  REQUIRE(refusal.has_value());
  CHECK(refusal->kind == ErrorKind::Output);
}

}  // namespace
}  // namespace edgecompress
