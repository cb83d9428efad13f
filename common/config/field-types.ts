/**
 * Single values of configuration files: each says in words what it wants and takes the spellings that occur in the
 * wild (numbers as strings, `AppendRow` for `append_row`).
 */
import * as z from 'zod';
import type { MiniBatchSize, SplitFiles } from '../core/deployment.ts';
import { limits } from '../core/limits.ts';
import { patternProblem } from './input-pattern.ts';

/** What a key may hold when it need not be there: an empty value counts as not given. */
export type Maybe<T> = T | null | undefined;

/** A piece of JSON Schema: what an editor may know about a field before we read it. */
export type JsonSchema = Readonly<Record<string, unknown>>;

/**
 * A field that reads `value` or answers undefined; `wanted` completes the sentence "wanted …, found …". `json` says the
 * same to editors, as far as JSON Schema can; what it refuses must be refused here too. Absent: editors accept everything.
 */
export function field<T>(wanted: string, read: (value: unknown) => T | undefined, json: JsonSchema = {}): z.ZodType<T> {
  return z
    .unknown()
    .transform((value, context) => {
      const result = read(value);
      if (result !== undefined) return result;
      context.addIssue({ code: 'custom', message: wanted });
      return z.NEVER;
    })
    .meta(json);
}

const toNumber = (value: unknown): number =>
  typeof value === 'number' ? value : typeof value === 'string' && value.trim() !== '' ? Number(value) : NaN;

const numberText = '^\\s*[-+]?[0-9.]+([eE][-+]?[0-9]+)?\\s*$';
const anyText = { type: ['string', 'number', 'boolean'] } as const;

export const wholeNumber = (min: number, max = 2_147_483_647): z.ZodType<number> =>
  field(
    `a whole number from ${min} to ${max}`,
    (value) => {
      const number = toNumber(value);
      return Number.isInteger(number) && number >= min && number <= max ? number : undefined;
    },
    {
      anyOf: [
        { type: 'integer', minimum: min, maximum: max },
        { type: 'string', pattern: numberText },
      ],
    },
  );

export const positiveNumber: z.ZodType<number> = field(
  'a number above 0',
  (value) => {
    const number = toNumber(value);
    return Number.isFinite(number) && number > 0 ? number : undefined;
  },
  {
    anyOf: [
      { type: 'number', exclusiveMinimum: 0 },
      { type: 'string', pattern: numberText },
    ],
  },
);

/** Whole GPUs, or a share of one. */
export const gpuShare: z.ZodType<number> = field(
  'a whole number of GPUs such as 1 or 2, or a share of one from 0.05 such as 0.5',
  (value) => {
    const share = toNumber(value);
    const isSound = share > 1 ? Number.isInteger(share) && share <= 64 : share >= 0.05;
    return isSound ? share : undefined;
  },
  {
    anyOf: [
      { type: 'number', minimum: 0.05, maximum: 64 },
      { type: 'string', pattern: numberText },
    ],
  },
);

export const yesOrNo: z.ZodType<boolean> = field(
  'true or false',
  (value) => {
    const text = String(value).toLowerCase();
    return text === 'true' ? true : text === 'false' ? false : undefined;
  },
  { anyOf: [{ type: 'boolean' }, { type: 'string', pattern: `^(${anyCase('true')}|${anyCase('false')})$` }] },
);

const textOf = (value: unknown): string | undefined =>
  ['string', 'number', 'boolean'].includes(typeof value) ? String(value) : undefined;

/** Text; numbers and truth values are taken for what they look like. */
export const text: z.ZodType<string> = field('text', textOf, anyText);

export const nonEmptyText: z.ZodType<string> = field(
  'text',
  (value) => ((typeof value === 'string' && value !== '') || typeof value === 'number' ? String(value) : undefined),
  { type: ['string', 'number'], minLength: 1 },
);

/** Name to text; values that are not text are turned into it, an empty value into the empty text. */
export const textMap: z.ZodType<Record<string, string>> = z.record(
  z.string(),
  field('text', (value) => (value === null ? '' : textOf(value)), { type: [...anyText.type, 'null'] }),
  'names and values',
);

/** What is read and not looked at. */
export const anything: z.ZodType = z.unknown();

/** One of `words`, whatever the case and with or without underscores; `also` maps further spellings. */
export function oneOf<const W extends string>(
  words: readonly W[],
  also: Readonly<Record<string, W>> = {},
): z.ZodType<W> {
  const bare = (value: string): string => value.toLowerCase().replaceAll('_', '');
  const known = new Map<string, W>([...words.map((word) => [bare(word), word] as const), ...Object.entries(also)]);
  const spellings = [...words, ...Object.keys(also)].map(anyCase);
  return field(`one of ${words.join(', ')}`, (value) => known.get(bare(String(value))), {
    anyOf: [{ enum: words }, { type: 'string', pattern: `^(${spellings.join('|')})$` }],
  });
}

/** The regular expression of `word` in any case, its underscores optional: JSON Schema has no flag for it. */
function anyCase(word: string): string {
  return [...word].map((c) => (c === '_' ? '_?' : /[a-z]/.test(c) ? `[${c}${c.toUpperCase()}]` : c)).join('');
}

const resourceNamePattern = /^[a-zA-Z][a-zA-Z0-9-]{1,30}[a-zA-Z0-9]$/;

/** @source Azure ML: 3–32 characters, a letter first, letters, digits and "-", a letter or digit last */
export const resourceName: z.ZodType<string> = field(
  'a name of 3 to 32 letters, digits and "-", beginning with a letter and ending with a letter or digit',
  (value) => (typeof value === 'string' && resourceNamePattern.test(value) ? value : undefined),
  { type: 'string', pattern: resourceNamePattern.source },
);

const assetNamePattern = /^[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,254}$/;

/** Of models, data assets, environments and computes; numbers are taken for what they look like. */
export const assetName: z.ZodType<string> = field(
  'a name of up to 255 letters, digits, "_", "-" and ".", beginning with a letter, digit or "_"',
  (value) =>
    ['string', 'number'].includes(typeof value) && assetNamePattern.test(String(value)) ? String(value) : undefined,
  { type: ['string', 'number'], pattern: assetNamePattern.source },
);

/** Seconds, or the ISO 8601 form that Azure gives back (`PT30S`), as milliseconds. @source Azure ML: above 0, up to 259200 s */
export const timeoutMs: z.ZodType<number> = field(
  `seconds above 0 and up to ${limits.timeoutMsMax / 1_000}`,
  (value) => {
    const ms = Math.ceil(secondsOf(value) * 1_000);
    return ms > 0 && ms <= limits.timeoutMsMax ? ms : undefined;
  },
  {
    anyOf: [
      { type: 'number', exclusiveMinimum: 0, maximum: limits.timeoutMsMax / 1_000 },
      { type: 'string', pattern: `${numberText}|^[pP][tT][0-9.hHmMsS]+$` },
    ],
  },
);

/** Seconds from 0 up, or the ISO form. */
export const idleSeconds: z.ZodType<number> = field(
  'seconds from 0 up',
  (value) => {
    const seconds = secondsOf(value);
    return seconds >= 0 && Number.isFinite(seconds) ? seconds : undefined;
  },
  {
    anyOf: [
      { type: 'number', minimum: 0 },
      { type: 'string', pattern: `${numberText}|^[pP][tT][0-9.hHmMsS]+$` },
    ],
  },
);

function secondsOf(value: unknown): number {
  const iso = typeof value === 'string' ? /^PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?$/i.exec(value) : null;
  return iso ? Number(iso[1] ?? 0) * 3_600 + Number(iso[2] ?? 0) * 60 + Number(iso[3] ?? 0) : toNumber(value);
}

const byteUnits: Readonly<Record<string, number>> = {
  b: 1,
  kb: 1_024,
  mb: 1_048_576,
  gb: 1_073_741_824,
  tb: 1_099_511_627_776,
};
const sizePattern = /^(\d+(?:\.\d+)?)\s*(b|[kmgt]i?b)$/;

/** `64MB` as bytes (1 KB is 1,024 bytes, as everywhere in this field); null for what is none. */
function bytesOf(text: string): number | null {
  const [, amount, unit] = sizePattern.exec(text.trim().toLowerCase()) ?? [];
  const bytes = Math.floor(Number(amount) * (byteUnits[(unit ?? '').replace('i', '')] ?? NaN));
  return bytes >= 1 ? bytes : null;
}

/** Memory: `2GB`, or a count of bytes. Below a mebibyte no scoring host starts, so that is surely not what was meant. */
export const memoryBytes: z.ZodType<number> = field(
  'a size such as 2GB or 512MB, at least 1MB, or a count of bytes',
  (value) => {
    const bytes = bytesOf(String(value)) ?? toNumber(value);
    return Number.isSafeInteger(bytes) && bytes >= 1_048_576 ? bytes : undefined;
  },
  {
    anyOf: [
      { type: 'integer', minimum: 1_048_576 },
      { type: 'string', pattern: '^\\s*[0-9.]+\\s*([kKmMgGtT]?[iI]?[bB])?\\s*$' },
    ],
    examples: ['2GB'],
  },
);

/** Glob patterns for input files: one, or a list of them. */
export const globPatterns: z.ZodType<readonly string[]> = z
  .unknown()
  .transform((value, context): readonly string[] => {
    const patterns: readonly unknown[] = Array.isArray(value) ? value : [value];
    const [problem] = patterns.flatMap((pattern) => {
      const words = typeof pattern === 'string' ? patternProblem(pattern) : 'is no text';
      return words === null ? [] : [`${JSON.stringify(pattern)} ${words}`];
    });
    if (problem === undefined && patterns.length <= limits.inputPatternsMax) return patterns as readonly string[];
    const message = `a glob pattern such as "*.jpg", or a list of up to ${limits.inputPatternsMax} (${problem ?? `${patterns.length} patterns`})`;
    context.addIssue({ code: 'custom', message });
    return z.NEVER;
  })
  .meta({
    anyOf: [
      { type: 'string', minLength: 1, maxLength: limits.inputPatternCharsMax },
      {
        type: 'array',
        maxItems: limits.inputPatternsMax,
        items: { type: 'string', minLength: 1, maxLength: limits.inputPatternCharsMax },
      },
    ],
    examples: ['*.jpg', ['*.jpg', 'raw/']],
  });

const timeUnits = { ms: 0.001, s: 1, m: 60, min: 60, h: 3_600 } as const;

/** `30s`, `500ms` or `2m` in seconds; null for what is no time, or less than a mini-batch is worth. */
function timeOf(text: string): number | null {
  const match = /^(\d+(?:\.\d+)?)\s*(ms|s|m|min|h)$/.exec(text);
  if (!match) return null;
  const seconds = Number(match[1]) * timeUnits[match[2] as keyof typeof timeUnits];
  return seconds >= limits.autoSecondsMin ? seconds : null;
}

/** Files, bytes (`64MB`), time (`30s`), or `auto`. */
export const miniBatchSize: z.ZodType<MiniBatchSize> = z
  .unknown()
  .transform((value, context): MiniBatchSize => {
    const text = String(value).trim().toLowerCase();
    if (text === 'auto') return { kind: 'auto' };
    const files = toNumber(value);
    if (Number.isInteger(files) && files >= 1 && files <= limits.miniBatchFilesMax) return { kind: 'files', files };
    const bytes = bytesOf(text);
    if (bytes !== null) return { kind: 'bytes', bytes };
    const seconds = timeOf(text);
    if (seconds !== null) return { kind: 'seconds', seconds };
    const message =
      `a count of files from 1 to ${limits.miniBatchFilesMax}, a size such as 64MB, ` +
      `a time such as 30s from ${limits.autoSecondsMin * 1_000}ms, or auto`;
    context.addIssue({ code: 'custom', message });
    return z.NEVER;
  })
  .meta({
    anyOf: [
      { type: 'integer', minimum: 1, maximum: limits.miniBatchFilesMax },
      { enum: ['auto'] },
      { type: 'string', pattern: `^\\s*([0-9.]+\\s*([kKmMgGtT]?[iI]?[bB])?|${anyCase('auto')})\\s*$` },
      { type: 'string', pattern: '^\\s*[0-9]+(\\.[0-9]+)?\\s*([mM]?[sS]|[mM]|[mM][iI][nN]|[hH])\\s*$' },
    ],
    examples: [10, '64MB', '30s', 'auto'],
  });

/** `auto`, `off`, or the bytes of a part (`16MB`). YAML reads a bare off as false. */
export const splitFiles: z.ZodType<SplitFiles> = z
  .unknown()
  .transform((value, context): SplitFiles => {
    const text = String(value).trim().toLowerCase();
    if (text === 'auto') return { kind: 'auto' };
    if (text === 'off' || value === false) return { kind: 'off' };
    const bytes = bytesOf(text);
    if (bytes !== null && bytes >= limits.splitPartBytesAsked) return { kind: 'bytes', bytes };
    const least = `${limits.splitPartBytesAsked / 1_024}KB`;
    context.addIssue({ code: 'custom', message: `auto, off, or a size of parts such as 16MB, from ${least}` });
    return z.NEVER;
  })
  .meta({
    anyOf: [
      { enum: ['auto', 'off', false] },
      { type: 'string', pattern: `^\\s*([0-9.]+\\s*[kKmMgGtT]?[iI]?[bB]|${anyCase('auto')}|${anyCase('off')})\\s*$` },
    ],
    examples: ['auto', 'off', '16MB'],
  });

const fileNamePattern = /^[^_.\\/\p{Cc}][^\\/\p{Cc}]*$/u;

/** A file name that stays in its folder and does not look like one of our own. */
export const outputFileName: z.ZodType<string> = field(
  'a file name without "/" and "..", not beginning with "_" or "."',
  (value) =>
    typeof value === 'string' &&
    fileNamePattern.test(value) &&
    !value.includes('..') &&
    new TextEncoder().encode(value).length <= 255
      ? value
      : undefined,
  { type: 'string', pattern: '^[^_./][^/]*$', maxLength: 255 },
);
