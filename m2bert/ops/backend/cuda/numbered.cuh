#pragma once
// Lists for kernels that take several arrays as numbered parameters: f is a macro of the number.
#define EACH_OF_8(f) f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7)
#define EACH_OF_16(f) EACH_OF_8(f), f(8), f(9), f(10), f(11), f(12), f(13), f(14), f(15)
#define EACH_OF_32(f) \
  EACH_OF_16(f), f(16), f(17), f(18), f(19), f(20), f(21), f(22), f(23), f(24), f(25), f(26), f(27), f(28), f(29), f(30), f(31)

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
#define OTHERS_OF_32(f) \
  OTHERS_OF_16(f);      \
  f(16);                \
  f(17);                \
  f(18);                \
  f(19);                \
  f(20);                \
  f(21);                \
  f(22);                \
  f(23);                \
  f(24);                \
  f(25);                \
  f(26);                \
  f(27);                \
  f(28);                \
  f(29);                \
  f(30);                \
  f(31)
