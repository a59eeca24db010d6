#pragma once
// The alias of MLX's namespace.
#include <mlx/mlx.h>

namespace m2bert {
namespace mx = mlx::core;
}
