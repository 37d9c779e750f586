#include "onnx_export/external_data.h"

#include "support/catch.h"
#include "support/temp_dir.h"

using namespace edgecompress;

namespace {

/// A tensor of `bytes` bytes whose every byte differs from its neighbours and from other tensors'
/// (`seed`).
Initializer tensor(const std::string& name, std::int64_t bytes, int seed) {
  return {
      .name = name, .type = OnnxType::Uint8, .dims = {bytes}, .source = [=](const ByteSink& sink) {
        std::vector<std::byte> values(static_cast<std::size_t>(bytes));
        for (std::size_t i = 0; i < values.size(); ++i) {
          values[i] = static_cast<std::byte>(i * 7 + i / 256 + static_cast<std::size_t>(seed));
        }
        const std::size_t half = values.size() / 2;
        sink(std::span(values).first(half));
        sink(std::span(values).subspan(half));
      }};
}

}  // namespace

TEST_CASE("tensors below 1 KiB stay in the graph, larger ones are aligned by their size",
          "[onnx_export]") {
  const std::vector<Initializer> tensors{
      tensor("tiny", 1023, 1),  tensor("first", 1024, 2),        tensor("small", 1025, 3),
      tensor("page", 65536, 4), tensor("small again", 65535, 5), tensor("big", 1 << 20, 6)};
  const ExternalDataPlan plan = plan_external_data(tensors);
  CHECK(plan.offsets.size() == 5);
  CHECK_FALSE(plan.offsets.contains("tiny"));
  CHECK(plan.offsets.at("first") == 0);
  CHECK(plan.offsets.at("small") == 1024);
  CHECK(plan.offsets.at("page") == 4096);
  CHECK(plan.offsets.at("small again") == 4096 + 65536);
  CHECK(plan.offsets.at("big") == 3 * 65536);
  CHECK(plan.total_bytes == 3 * 65536 + (1 << 20));
}

TEST_CASE("a twin takes the place of the tensor whose bytes it shares", "[onnx_export]") {
  Initializer twin = tensor("twin", 4096, 1);
  twin.dims = {64, 64};
  twin.same_bytes_as = "owner";
  Initializer small_twin = tensor("small twin", 16, 2);
  small_twin.same_bytes_as = "small owner";
  const ExternalDataPlan plan =
      plan_external_data({twin, small_twin, tensor("before", 2048, 3), tensor("owner", 4096, 1),
                          tensor("small owner", 16, 2)});
  CHECK(plan.offsets.at("owner") == 2048);
  CHECK(plan.offsets.at("twin") == 2048);
  CHECK(plan.total_bytes == 2048 + 4096);
  CHECK_FALSE(plan.offsets.contains("small twin"));
}

TEST_CASE("the data file holds each tensor at its offset and zeros between", "[onnx_export]") {
  const TempDir dir;
  const std::vector<Initializer> tensors{tensor("a", 1030, 11), tensor("b", 70000, 12),
                                         tensor("inside", 10, 13), tensor("c", 1500, 14)};
  const ExternalDataPlan plan = plan_external_data(tensors);
  StagedFolder folder(dir.path() / "out", {}, ExistingOutput::Refuse);
  StagedFile file = folder.create("data", plan.total_bytes);
  std::vector<std::string> order;
  write_external_data(tensors, plan, file, [&](const Initializer& t) { order.push_back(t.name); });
  file.close();
  CHECK(order == std::vector<std::string>{"a", "b", "c"});

  std::ifstream stream(folder.path() / "data", std::ios::binary);
  const std::string content{std::istreambuf_iterator<char>(stream), {}};
  REQUIRE(content.size() == plan.total_bytes);
  std::string expected(content.size(), '\0');
  for (const Initializer& t : tensors) {
    if (!plan.offsets.contains(t.name)) continue;
    std::size_t at = plan.offsets.at(t.name);
    t.source([&](std::span<const std::byte> bytes) {
      for (const std::byte b : bytes) expected[at++] = static_cast<char>(b);
    });
  }
  CHECK(content == expected);
}
