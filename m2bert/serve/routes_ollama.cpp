#include "m2bert/serve/call.h"

namespace m2bert::serve {

std::span<const Route> ollama_routes() { return {}; }

}  // namespace m2bert::serve
