import fc from 'fast-check';
import { expect, it } from 'vitest';
import { fileLineText } from '../../coordinator/output/file-line-text.ts';
import type { FileLine } from '../../coordinator/output/sealed-lines.ts';

const text = fc.oneof(
  fc.string(),
  fc.string({ unit: 'binary' }),
  fc.constantFrom('a/"b"', 'a\\b', '\u0000', '\ud83d', 'ü/\ud83d\ude00', '\u2028'),
);
const pair = fc.tuple(fc.nat(), fc.nat());

const lines: fc.Arbitrary<FileLine> = fc
  .record(
    {
      ordinal: fc.nat(),
      path: text,
      size_bytes: fc.oneof(fc.nat(), fc.constantFrom(2 ** 53 - 1, 1e21)),
      part: pair,
      identity: text,
      status: fc.constantFrom('scored', 'failed', 'unscored'),
      taken: fc.constant(true),
      rows: fc.option(fc.nat()),
      mini_batch: fc.option(pair),
      attempt: fc.option(text),
      attempts: fc.nat(),
      node: fc.option(text),
      code: fc.option(fc.constantFrom('INPUT_CHANGED', 'INTERNAL')),
    },
    {
      requiredKeys: [
        'ordinal',
        'path',
        'size_bytes',
        'identity',
        'status',
        'rows',
        'mini_batch',
        'attempt',
        'node',
        'code',
      ],
    },
  )
  .map((line) => line as FileLine);

it('writes a line of the manifest as JSON.stringify does, whatever is in it', () => {
  fc.assert(
    fc.property(lines, (line) => {
      expect(fileLineText(line)).toBe(JSON.stringify(line));
    }),
  );
});
