/** Makes inputs from valid samples: flipped bits, cut and spliced pieces, wrong lengths, holes, words of the format, and plain noise. */
import type { Random } from '../sim/world.ts';

export interface Samples {
  readonly valid: readonly Uint8Array[];
  /** Words that mean something to the target. */
  readonly words: readonly (string | Uint8Array)[];
}

const bytesMax = 65_536;
const lengths = [0, 1, 2, 127, 128, 255, 256, 65_535, 65_536, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];

type Mutation = (bytes: Buffer, random: Random, samples: Samples) => Buffer;

const place = (bytes: Buffer, random: Random): number => random.between(0, bytes.length);

function spliced(bytes: Buffer, at: number, removed: number, put: Uint8Array): Buffer {
  return Buffer.concat([bytes.subarray(0, at), put, bytes.subarray(at + removed)]);
}

function noise(random: Random, length: number): Buffer {
  return Buffer.from(Array.from({ length }, () => random.between(0, 255)));
}

const mutations: readonly Mutation[] = [
  (bytes, random) => {
    const flipped = Buffer.from(bytes);
    const at = random.between(0, bytes.length - 1);
    flipped[at] = (flipped[at] as number) ^ (1 << random.between(0, 7));
    return flipped;
  },
  (bytes, random) => spliced(bytes, random.between(0, bytes.length - 1), 1, noise(random, 1)),
  (bytes, random) => bytes.subarray(0, place(bytes, random)),
  (bytes, random) => bytes.subarray(place(bytes, random)),
  (bytes, random) => spliced(bytes, place(bytes, random), random.between(1, 16), noise(random, 0)),
  (bytes, random) => spliced(bytes, place(bytes, random), 0, noise(random, random.between(1, 16))),
  (bytes, random, { valid }) => {
    const other = random.pick(valid);
    const from = random.between(0, other.length);
    return spliced(
      bytes,
      place(bytes, random),
      random.between(0, 64),
      other.subarray(from, random.between(from, other.length)),
    );
  },
  (bytes, random) => {
    const from = place(bytes, random);
    return spliced(bytes, place(bytes, random), 0, bytes.subarray(from, from + random.between(1, 64)));
  },
  (bytes, random) => {
    const word = Buffer.alloc(4);
    if (random.chance(0.5)) word.writeUInt32LE(random.pick(lengths));
    else word.writeUInt32BE(random.pick(lengths));
    return spliced(bytes, place(bytes, random), 4, word);
  },
  // What a disk leaves that lost a page.
  (bytes, random) => {
    const holed = Buffer.from(bytes);
    const at = place(bytes, random);
    return holed.fill(0, at, Math.min(bytes.length, at + random.pick([1, 16, 64, 512])));
  },
  (bytes, random, { words }) => {
    if (words.length === 0) return bytes;
    return spliced(bytes, place(bytes, random), random.pick([0, 1, 4, 8]), Buffer.from(random.pick(words)));
  },
];

const values = [
  '0',
  '-1',
  '1.5',
  '1e99',
  '9007199254740993',
  'null',
  'true',
  '""',
  '"x"',
  '"\\ud800"',
  '[]',
  '{}',
  '[null]',
];

/** A value of a text is replaced by another one, so that what comes of it still parses. Null for what is no text. */
function otherValue(bytes: Buffer, random: Random): Buffer | null {
  const text = bytes.toString('utf8');
  if (text.includes('\ufffd')) return null;
  const found = [...text.matchAll(/-?\d+(?:\.\d+)?|"(?:[^"\\\n]|\\.)*"|\bnull\b|\btrue\b|\bfalse\b/g)];
  if (found.length === 0) return null;
  const { index, 0: old } = random.pick(found);
  const put = random.chance(0.3) ? random.pick(found)[0] : random.pick(values);
  return Buffer.from(text.slice(0, index) + put + text.slice(index + old.length));
}

export function makeInput(random: Random, samples: Samples): Buffer {
  const dice = random.next();
  if (dice < 0.05) return noise(random, random.between(0, 300));
  let bytes: Buffer = Buffer.from(random.pick(samples.valid));
  if (dice < 0.07) return bytes;
  for (let left = random.chance(0.6) ? 1 : random.between(2, 4); left > 0 && bytes.length > 0; left -= 1) {
    const other = random.chance(0.4) ? otherValue(bytes, random) : null;
    bytes = other ?? Buffer.from(random.pick(mutations)(bytes, random, samples));
  }
  return bytes.subarray(0, bytesMax);
}
