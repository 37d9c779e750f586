#pragma once

#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "report/report.h"

namespace edgecompress {

/// Limits of a comparison, as shares of the first report's value; absent: no limit.
struct DiffLimits {
  std::optional<double> perplexity_increase = {};
  std::optional<double> size_increase = {};
  std::optional<double> top1_decrease = {};   ///< as a difference of shares, 0..1
  std::optional<double> speed_decrease = {};  ///< of decoding
};

struct DiffRow {
  std::string metric;
  std::optional<double> first;
  std::optional<double> second;
  std::optional<double> change;  ///< second / first - 1; of shares second - first
  std::string first_text;
  std::string second_text;
  std::string change_text;
  std::optional<double> limit;
  bool passed = true;
};

/// A matrix whose error or form differs.
struct TensorDiff {
  std::string name;
  std::string stored_first;
  std::string stored_second;
  std::optional<double> error_first;
  std::optional<double> error_second;
};

struct ReportDiff {
  std::string first;  ///< named in tables
  std::string second;
  std::vector<DiffRow> rows;
  std::vector<TensorDiff> tensors;  ///< those that differ, the largest growth of error first
  std::vector<std::string> notes;   ///< what does not compare, and why
  bool passed() const;
};

/// Compares two reports. Perplexity, KL and top-1 compare only when both were scored on the same
/// tokens; a limit on what does not compare fails.
ReportDiff diff_reports(const Report& first, const Report& second, const DiffLimits& limits);

std::string diff_table(const ReportDiff& diff);
/// For pull requests; the 20 largest changes of matrices.
std::string diff_markdown(const ReportDiff& diff);
/// Schema edgecompress.diff/v1.
nlohmann::ordered_json diff_json(const ReportDiff& diff);

}  // namespace edgecompress
