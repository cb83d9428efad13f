/** Types of Arrow by their numbers: `instanceof` would not know those of another release that a script may bring. */

/** @source Arrow's Type enumeration, part of its stable API */
export const arrowTypeId = {
  dictionary: -1,
  null: 1,
  int: 2,
  float: 3,
  binary: 4,
  utf8: 5,
  bool: 6,
  decimal: 7,
  date: 8,
  timestamp: 10,
  list: 12,
  struct: 13,
  fixedSizeList: 16,
  largeUtf8: 20,
} as const;
