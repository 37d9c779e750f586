#include "base/memory_budget.h"

#include "base/error.h"
#include "support/catch.h"
#include "support/temp_dir.h"

namespace edgecompress {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

TEST_CASE("the least limit of the process's cgroup and those above it counts", "[base]") {
  const std::uint64_t machine = memory_limit(TempDir().path());
  REQUIRE(machine > 200 * kMiB);
  {
    const TempDir root;
    root.write("proc/self/cgroup", "0::/a/b\n");
    root.write("sys/fs/cgroup/a/b/memory.max", "max\n");
    CHECK(memory_limit(root.path()) == machine);
    root.write("sys/fs/cgroup/a/memory.max", "104857600\n");
    CHECK(memory_limit(root.path()) == 100 * kMiB);
    root.write("sys/fs/cgroup/a/b/memory.max", "52428800\n");
    CHECK(memory_limit(root.path()) == 50 * kMiB);
  }
  const TempDir version1;
  version1.write("proc/self/cgroup", "9:memory:/x\n3:cpu:/x\n");
  version1.write("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "73400320\n");
  CHECK(memory_limit(version1.path()) == 70 * kMiB);
  const TempDir container;  // sees its own limit at the root
  container.write("sys/fs/cgroup/memory.max", "31457280\n");
  CHECK(memory_limit(container.path()) == 30 * kMiB);
}

TEST_CASE("a size has a number and a unit, or is a share of the limit", "[base]") {
  CHECK(parse_memory_size("8GiB") == 8192 * kMiB);
  CHECK(parse_memory_size("1.5GiB") == 1536 * kMiB);
  CHECK(parse_memory_size("300MiB") == 300 * kMiB);
  const std::uint64_t half = memory_limit() / 2;
  CHECK(parse_memory_size("50%") >= half - 1);
  CHECK(parse_memory_size("50%") <= half + 1);
  for (const char* const text :
       {"", "8", "GiB", "8GB", "8 GiB", "-1GiB", "0GiB", "101%", "nan%", "infGiB", "1e99GiB"}) {
    CAPTURE(text);
    CHECK_THROWS_AS(parse_memory_size(text), Error);
  }
}

TEST_CASE("a shown size is never less than the size", "[base]") {
  CHECK(memory_text(1536 * kMiB) == "1.5 GiB");
  CHECK(memory_text(1536 * kMiB + 1) == "1.6 GiB");
  CHECK(memory_text(1) == "0.1 GiB");
  CHECK(memory_text(10 * kMiB * 1024) == "10.0 GiB");
}

}  // namespace
}  // namespace edgecompress
