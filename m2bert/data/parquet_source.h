#pragma once
#include <filesystem>
#include <memory>

#include "m2bert/data/source.h"

namespace m2bert::data {

// The rows of a Parquet file as a Source: open_source() calls it. With `records`, columns that cannot be read are left out. Error for
// pipes, and if a column that `field` or `keep` names is missing or cannot be read.
std::unique_ptr<Source> open_parquet_source(const std::filesystem::path& path, const SourceOptions& options);

}  // namespace m2bert::data
