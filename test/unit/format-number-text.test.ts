import { describe, expect, it } from 'vitest';
import { floatText, jsonInteger, numberText } from '../../common/format/number-text.ts';

describe('floatText', () => {
  // Texts are Python's: [repr(x) for x in (…)].
  it.each([
    [0, '0.0'],
    [-0, '-0.0'],
    [1, '1.0'],
    [-17, '-17.0'],
    [0.1, '0.1'],
    [1 / 3, '0.3333333333333333'],
    [0.001, '0.001'],
    [0.0001, '0.0001'],
    [0.00011, '0.00011'],
    [0.00001, '1e-05'],
    [0.000012345, '1.2345e-05'],
    [1e-7, '1e-07'],
    [-1.5e-7, '-1.5e-07'],
    [1e-100, '1e-100'],
    [5e-324, '5e-324'],
    [1.7976931348623157e308, '1.7976931348623157e+308'],
    [123456789012345, '123456789012345.0'],
    [9007199254740992, '9007199254740992.0'],
    [9999999999999998, '9999999999999998.0'],
    [1e16, '1e+16'],
    [12345678901234568, '1.2345678901234568e+16'],
    [1e21, '1e+21'],
    [1e22, '1e+22'],
    [NaN, 'nan'],
    [Infinity, 'inf'],
    [-Infinity, '-inf'],
  ])('%d is %s', (value, text) => {
    expect(floatText(value)).toBe(text);
  });

  it('gives all digits of a float32 that was widened', () => {
    expect(floatText(Math.fround(0.1234))).toBe('0.1234000027179718');
    expect(floatText(Math.fround(0.12345679))).toBe('0.12345679104328156');
  });
});

describe('numberText', () => {
  it.each([
    [7, '7'],
    [-0, '0'],
    [0.5, '0.5'],
    [1e-7, '1e-07'],
    [9007199254740991, '9007199254740991'],
    [1e16, '1e+16'],
  ])('%d is %s', (value, text) => {
    expect(numberText(value)).toBe(text);
  });
});

describe('jsonInteger', () => {
  it('is a number only where every reader holds it exactly', () => {
    expect(jsonInteger(9007199254740991n)).toBe('9007199254740991');
    expect(jsonInteger(9007199254740992n)).toBe('"9007199254740992"');
    expect(jsonInteger(-9007199254740992n)).toBe('"-9007199254740992"');
    expect(jsonInteger(0n)).toBe('0');
  });
});
