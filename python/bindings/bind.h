#pragma once
// The groups of m2bert._core: one file each, which module.cpp calls.
#include <nanobind/nanobind.h>

namespace m2bert::python {

namespace nb = nanobind;
using namespace nb::literals;

void bind_runtime(nb::module_& m);
void bind_checkpoint(nb::module_& m);
void bind_classifier(nb::module_& m);
void bind_embedder(nb::module_& m);
void bind_fill_mask(nb::module_& m);
void bind_metrics(nb::module_& m);
void bind_ops(nb::module_& m);
void bind_tokenizer(nb::module_& m);
void bind_train(nb::module_& m);

}  // namespace m2bert::python
