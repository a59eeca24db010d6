#pragma once
// OmegaConf's ${...} inside a tree.
#include "m2bert/io/tree.h"
#include "m2bert/io/yaml.h"

namespace m2bert::io {

// Replaces every interpolation: ${a.b[0]}, ${.sibling}, ${..uncle}, nested ones, ${oc.env:NAME,default}, ${oc.decode:text}; \${ stands for
// ${. A string that is one interpolation becomes the value it names, of any kind; inside a longer string the value's text is put in. One
// without a target (or an unset environment variable) becomes Kind::missing, as in OmegaConf: an error only when it is read. Every value
// must have its place. Errors name the place of the interpolation: cycle, unknown resolver, bad syntax, limits.
void resolve_interpolations(Tree& root, const YamlLimits& limits);

}  // namespace m2bert::io
