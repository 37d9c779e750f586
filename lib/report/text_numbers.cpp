#include "report/text_numbers.h"

#include <cmath>

namespace edgecompress {
namespace {

std::string with_unit(double value, double step, const std::array<const char*, 5>& units) {
  std::size_t unit = 0;
  for (; std::abs(value) >= step && unit + 1 < units.size(); ++unit) value /= step;
  return unit == 0 ? formatted("%.0f%s", value, units[0]) : formatted("%.2f%s", value, units[unit]);
}

}  // namespace

std::string count_text(std::int64_t value) {
  return with_unit(static_cast<double>(value), 1000, {"", " k", " M", " B", " T"});
}

std::string size_text(std::int64_t bytes) {
  return with_unit(static_cast<double>(bytes), 1024, {" B", " KiB", " MiB", " GiB", " TiB"});
}

}  // namespace edgecompress
