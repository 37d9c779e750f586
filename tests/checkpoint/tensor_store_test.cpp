#include "checkpoint/tensor_store.h"

#include <filesystem>

#include <sys/stat.h>

#include "file_bytes.h"
#include "support/catch.h"
#include "support/refusal.h"
#include "support/temp_dir.h"

namespace edgecompress {
namespace {

namespace fs = std::filesystem;

/// A file of one U8 tensor of `count` random elements.
std::string one_tensor(const std::string& name, std::size_t count, unsigned seed = 7,
                       const std::string& dtype = "U8") {
  return file_of("{\"" + name + R"(":{"dtype":")" + dtype + R"(","shape":[)" +
                     std::to_string(count) + R"(],"data_offsets":[0,)" + std::to_string(count) +
                     "]}}",
                 count, seed);
}

constexpr const char* kIndex = "model.safetensors.index.json";

std::string index_of(const std::string& extra = "") {
  return R"({"metadata":{"total_size":11},"weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors")" +
         extra + "}}";
}

/// Two shards with the tensors a (5 bytes) and b (6 bytes), and their index.
void write_sharded(const TempDir& folder) {
  folder.write("m-1.safetensors", one_tensor("a", 5, 1));
  folder.write("m-2.safetensors", one_tensor("b", 6, 2));
  folder.write(kIndex, index_of());
}

Refusal refused(const fs::path& folder) {
  const auto refusal = refusal_of([&] { TensorStore::open(folder); });
  REQUIRE(refusal.has_value());
  UNSCOPED_INFO(refusal->message);
  return *refusal;
}

bool says(const Refusal& refusal, const std::string& words) {
  return refusal.message.find(words) != std::string::npos;
}

TEST_CASE("a single file gives its tensors", "[checkpoint]") {
  const TempDir folder;
  folder.write("model.safetensors", one_tensor("a", 5));
  const TensorStore store = TensorStore::open(folder.path());
  CHECK(store.get("a").bytes.size() == 5);
  CHECK(store.find("b") == nullptr);
  CHECK(store.total_bytes() == 5);
  CHECK(store.files() == std::vector{folder.path() / "model.safetensors"});
  const auto absent = refusal_of([&] { store.get("b"); });
  REQUIRE(absent.has_value());
  CHECK(says(*absent, "\"b\""));
}

TEST_CASE("shards give their tensors, also after they were dropped from memory", "[checkpoint]") {
  const TempDir folder;
  write_sharded(folder);
  const TensorStore store = TensorStore::open(folder.path());
  CHECK(store.warnings().empty());
  CHECK(store.files().size() == 3);
  const std::string b = random_bytes(6, 2);
  for (int pass = 0; pass < 2; ++pass) {
    const auto bytes = store.get("b").bytes;
    CHECK(std::equal(bytes.begin(), bytes.end(), as_bytes(b).begin(), as_bytes(b).end()));
    store.drop(store.get("b"));
  }
}

TEST_CASE("a store can be moved without losing its tensors", "[checkpoint]") {
  const TempDir folder;
  write_sharded(folder);
  TensorStore first = TensorStore::open(folder.path());
  const TensorEntry* const a = first.find("a");
  const TensorStore second = std::move(first);
  CHECK(second.find("a") == a);
  CHECK(second.get("a").bytes.size() == 5);
}

TEST_CASE("a folder without weights says what it holds instead", "[checkpoint]") {
  const TempDir folder;
  SECTION("nothing") {
    const Refusal refusal = refused(folder.path());
    CHECK(refusal.kind == ErrorKind::Missing);
    CHECK(says(refusal, "model.safetensors"));
  }
  SECTION("no folder") { CHECK(refused(folder.path() / "x").kind == ErrorKind::Missing); }
  SECTION("a file in its place") {
    const Refusal refusal = refused(folder.write("file", "x"));
    CHECK(refusal.code == "S36");
    CHECK(refusal.kind == ErrorKind::Missing);
  }
  SECTION("a pickled checkpoint") {
    folder.write("pytorch_model-00001-of-00002.bin", "PK");
    const Refusal refusal = refused(folder.path());
    CHECK(refusal.code == "I16");
    CHECK(refusal.kind == ErrorKind::Unsupported);
    CHECK(says(refusal, "save_pretrained"));
  }
  SECTION("an index longer than 64 MiB, before it is read") {
    const std::uintmax_t over = (std::uintmax_t{64} << 20) + 1;
    fs::resize_file(folder.write(kIndex, "{"), over);  // sparse
    const Refusal refusal = refused(folder.path());
    CHECK(refusal.code == "I1");
    CHECK(refusal.kind == ErrorKind::Malformed);
    CHECK(says(refusal, std::to_string(over)));
  }
  SECTION("an unfinished download") {
    folder.write("model.safetensors.incomplete", one_tensor("a", 5));
    CHECK(refused(folder.path()).code == "S35");
  }
  SECTION("a GGUF file") {
    folder.write("model-q4.gguf", "GGUF");
    CHECK(refused(folder.path()).code == "S35");
  }
}

TEST_CASE("what is not a regular file is refused and never waited for", "[checkpoint]") {
  const TempDir folder;
  SECTION("a pipe as model.safetensors") {
    REQUIRE(::mkfifo((folder.path() / "model.safetensors").c_str(), 0600) == 0);
    const Refusal refusal = refused(folder.path());
    CHECK(refusal.code == "S36");
    CHECK(refusal.kind == ErrorKind::Missing);
  }
  SECTION("a folder as model.safetensors") {
    fs::create_directory(folder.path() / "model.safetensors");
    CHECK(refused(folder.path()).code == "S36");
  }
  SECTION("a pipe as a shard") {
    write_sharded(folder);
    fs::remove(folder.path() / "m-2.safetensors");
    REQUIRE(::mkfifo((folder.path() / "m-2.safetensors").c_str(), 0600) == 0);
    const Refusal refusal = refused(folder.path());
    CHECK(refusal.code == "I8");
    CHECK(says(refusal, "m-2.safetensors"));
  }
}

TEST_CASE("all missing shards are listed", "[checkpoint]") {
  const TempDir folder;
  folder.write(kIndex,
               R"({"weight_map":{"a":"p.safetensors","b":"q.safetensors","c":"r.safetensors"}})");
  folder.write("q.safetensors", one_tensor("b", 3));
  folder.write("r.safetensors.incomplete", "");
  const Refusal refusal = refused(folder.path());
  CHECK(refusal.code == "I6");
  CHECK(refusal.kind == ErrorKind::Missing);
  CHECK(says(refusal, "2 of 3"));
  CHECK(says(refusal, "p.safetensors"));
  CHECK(says(refusal, "r.safetensors (an unfinished download)"));
  CHECK_FALSE(says(refusal, "q.safetensors"));
}

TEST_CASE("the index and the shards must name the same tensors", "[checkpoint]") {
  const TempDir folder;
  write_sharded(folder);
  SECTION("listed but absent") {
    folder.write(kIndex, index_of(R"(,"c":"m-2.safetensors")"));
    const Refusal refusal = refused(folder.path());
    CHECK(refusal.code == "I9");
    CHECK(says(refusal, "\"c\" in m-2.safetensors"));
  }
  SECTION("present but not listed") {
    folder.write(kIndex, R"({"weight_map":{"a":"m-1.safetensors","z":"m-2.safetensors"}})");
    const Refusal refusal = refused(folder.path());
    CHECK(refusal.code == "I10");
    CHECK(says(refusal, "\"b\""));
  }
  SECTION("in two shards") {
    folder.write("m-2.safetensors", one_tensor("a", 6));
    const Refusal refusal = refused(folder.path());
    CHECK(refusal.code == "I11");
    CHECK(says(refusal, "m-1.safetensors"));
  }
  SECTION("a shard that lies") {
    folder.write("m-2.safetensors", one_tensor("b", 6) + "x");
    CHECK(refused(folder.path()).code == "S26");
  }
  SECTION("a wrong total size is only a warning") {
    folder.write(kIndex, R"({"metadata":{"total_size":12},
                             "weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors"}})");
    const TensorStore store = TensorStore::open(folder.path());
    REQUIRE(store.warnings().size() == 1);
    CHECK(store.warnings()[0].find("I13") == 0);
    CHECK(store.warnings()[0].find("12 bytes, the tensors have 11") != std::string::npos);
  }
}

TEST_CASE("a single file beside an index must hold the same", "[checkpoint]") {
  const TempDir folder;
  const std::string header = R"({"a":{"dtype":"U8","shape":[5],"data_offsets":[0,5]},)"
                             R"("b":{"dtype":"U8","shape":[6],"data_offsets":[5,11]}})";
  std::string both = length_bytes(header.size()) + header + random_bytes(5, 1) + random_bytes(6, 2);
  write_sharded(folder);
  folder.write("model.safetensors", both);
  CHECK(TensorStore::open(folder.path()).tensors().size() == 2);
  SECTION("another value") {
    both.back() = static_cast<char>(both.back() + 1);
    folder.write("model.safetensors", both);
    const Refusal refusal = refused(folder.path());
    CHECK(refusal.code == "I14");
    CHECK(says(refusal, "\"b\""));
  }
  SECTION("fewer tensors") {
    folder.write("model.safetensors", one_tensor("a", 5, 1));
    CHECK(refused(folder.path()).code == "I14");
  }
  SECTION("an index over that very file") {
    folder.write(kIndex, R"({"weight_map":{"a":"model.safetensors","b":"model.safetensors"}})");
    CHECK(TensorStore::open(folder.path()).files().size() == 2);
  }
}

TEST_CASE("links stay inside the folder or follow the cache's layout", "[checkpoint]") {
  const TempDir temp;
  const fs::path cache = temp.path() / "models--x--y";
  const fs::path snapshot = cache / "snapshots/0123abcd";
  fs::create_directories(snapshot);
  temp.write("models--x--y/blobs/77aa", one_tensor("a", 5));
  temp.write("outside.safetensors", one_tensor("a", 5));
  const fs::path model = snapshot / "model.safetensors";
  SECTION("the cache's layout") {
    fs::create_symlink("../../blobs/77aa", model);
    CHECK(TensorStore::open(snapshot).tensors().size() == 1);
  }
  SECTION("inside") {
    temp.write("models--x--y/snapshots/0123abcd/real.bin", one_tensor("a", 5));
    fs::create_symlink("real.bin", model);
    CHECK(TensorStore::open(snapshot).tensors().size() == 1);
  }
  SECTION("outside, relative") {
    fs::create_symlink("../../../outside.safetensors", model);
    const Refusal refusal = refused(snapshot);
    CHECK(refusal.code == "I7");
    CHECK(refusal.kind == ErrorKind::Malformed);
    CHECK(says(refusal, "outside.safetensors"));
  }
  SECTION("outside, absolute") {
    fs::create_symlink(temp.path() / "outside.safetensors", model);
    CHECK(refused(snapshot).code == "I7");
  }
  SECTION("a sibling whose name only starts like the folder") {
    temp.write("models--x--y/snapshots/0123abcdef/model.safetensors", one_tensor("a", 5));
    fs::create_symlink("../0123abcdef/model.safetensors", model);
    CHECK(refused(snapshot).code == "I7");
  }
  SECTION("a shard") {
    fs::create_symlink("../../../outside.safetensors", snapshot / "s.safetensors");
    temp.write("models--x--y/snapshots/0123abcd/model.safetensors.index.json",
               R"({"weight_map":{"a":"s.safetensors"}})");
    CHECK(refused(snapshot).code == "I7");
  }
  SECTION("a hard link is a file like any other") {
    fs::create_hard_link(temp.path() / "outside.safetensors", model);
    CHECK(TensorStore::open(snapshot).tensors().size() == 1);
  }
}

TEST_CASE("a type that is not read is refused when it is needed", "[checkpoint]") {
  const TempDir folder;
  folder.write("model.safetensors", one_tensor("a", 5, 7, "F8_E5M2"));
  const TensorStore store = TensorStore::open(folder.path());
  const auto refusal = refusal_of([&] { store.find("a"); });
  REQUIRE(refusal.has_value());
  CHECK(refusal->code == "S37");
  CHECK(refusal->kind == ErrorKind::Unsupported);
  CHECK(says(*refusal, "F8_E5M2"));
}

TEST_CASE("a file that grows while it is open is noticed", "[checkpoint]") {
  const TempDir folder;
  const fs::path file = folder.write("model.safetensors", one_tensor("a", 5));
  const TensorStore store = TensorStore::open(folder.path());
  store.ensure_unchanged();
  folder.write("model.safetensors", one_tensor("a", 5) + "more");
  const auto refusal = refusal_of([&] { store.ensure_unchanged(); });
  REQUIRE(refusal.has_value());
  CHECK(refusal->code == "S38");
  CHECK(refusal->kind == ErrorKind::Io);
}

}  // namespace
}  // namespace edgecompress
