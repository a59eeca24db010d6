#pragma once
// Lists for kernels that take several arrays as numbered parameters: f is a macro of the number.
#define EACH_OF_8(f) f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7)
#define EACH_OF_16(f) EACH_OF_8(f), f(8), f(9), f(10), f(11), f(12), f(13), f(14), f(15)

// Statements for all but the first one.
#define OTHERS_OF_8(f) \
  f(1);                \
  f(2);                \
  f(3);                \
  f(4);                \
  f(5);                \
  f(6);                \
  f(7)
#define OTHERS_OF_16(f) \
  OTHERS_OF_8(f);       \
  f(8);                 \
  f(9);                 \
  f(10);                \
  f(11);                \
  f(12);                \
  f(13);                \
  f(14);                \
  f(15)
