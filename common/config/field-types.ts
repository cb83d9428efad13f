/**
 * Single values of configuration files: each says in words what it wants and takes the spellings that occur in the
 * wild (numbers as strings, `AppendRow` for `append_row`).
 */
import { z } from 'zod';
import type { MiniBatchSize } from '../core/deployment.ts';
import { limits } from '../core/limits.ts';

/** A field that reads `value` or answers undefined; `wanted` completes the sentence "wanted …, found …". */
export function field<T>(wanted: string, read: (value: unknown) => T | undefined): z.ZodType<T> {
  return z.unknown().transform((value, context) => {
    const result = read(value);
    if (result !== undefined) return result;
    context.addIssue({ code: 'custom', message: wanted });
    return z.NEVER;
  });
}

const toNumber = (value: unknown): number =>
  typeof value === 'number' ? value : typeof value === 'string' && value.trim() !== '' ? Number(value) : NaN;

export const wholeNumber = (min: number, max = 2_147_483_647): z.ZodType<number> =>
  field(`a whole number from ${min} to ${max}`, (value) => {
    const number = toNumber(value);
    return Number.isInteger(number) && number >= min && number <= max ? number : undefined;
  });

export const positiveNumber: z.ZodType<number> = field('a number above 0', (value) => {
  const number = toNumber(value);
  return Number.isFinite(number) && number > 0 ? number : undefined;
});

export const yesOrNo: z.ZodType<boolean> = field('true or false', (value) => {
  const text = String(value).toLowerCase();
  return text === 'true' ? true : text === 'false' ? false : undefined;
});

/** Text; numbers and truth values are taken for what they look like. */
export const text: z.ZodType<string> = field('text', (value) =>
  ['string', 'number', 'boolean'].includes(typeof value) ? String(value) : undefined,
);

export const nonEmptyText: z.ZodType<string> = field('text', (value) =>
  (typeof value === 'string' && value !== '') || typeof value === 'number' ? String(value) : undefined,
);

/** Name to text; values that are not text are turned into it, an empty value into the empty text. */
export const textMap: z.ZodType<Record<string, string>> = z.record(
  z.string(),
  field('text', (value) =>
    value === null ? '' : ['string', 'number', 'boolean'].includes(typeof value) ? String(value) : undefined,
  ),
  'names and values',
);

/** One of `words`, whatever the case and with or without underscores; `also` maps further spellings. */
export function oneOf<W extends string>(words: readonly W[], also: Readonly<Record<string, W>> = {}): z.ZodType<W> {
  const bare = (value: string): string => value.toLowerCase().replaceAll('_', '');
  const known = new Map<string, W>([...words.map((word) => [bare(word), word] as const), ...Object.entries(also)]);
  return field(`one of ${words.join(', ')}`, (value) => known.get(bare(String(value))));
}

/** @source Azure ML: 3–32 characters, a letter first, letters, digits and "-", a letter or digit last */
export const resourceName: z.ZodType<string> = field(
  'a name of 3 to 32 letters, digits and "-", beginning with a letter and ending with a letter or digit',
  (value) => (typeof value === 'string' && /^[a-z][a-z0-9-]{1,30}[a-z0-9]$/i.test(value) ? value : undefined),
);

/** Seconds, or the ISO 8601 form that Azure gives back (`PT30S`), as milliseconds. @source Azure ML: above 0, up to 259200 s */
export const timeoutMs: z.ZodType<number> = field(
  `seconds above 0 and up to ${limits.timeoutMsMax / 1_000}`,
  (value) => {
    const iso = typeof value === 'string' ? /^PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?$/i.exec(value) : null;
    const seconds = iso
      ? Number(iso[1] ?? 0) * 3_600 + Number(iso[2] ?? 0) * 60 + Number(iso[3] ?? 0)
      : toNumber(value);
    const ms = Math.ceil(seconds * 1_000);
    return seconds > 0 && ms <= limits.timeoutMsMax ? ms : undefined;
  },
);

const byteUnits: Readonly<Record<string, number>> = { b: 1, kb: 1_024, mb: 1_048_576, gb: 1_073_741_824 };

/** Files, bytes (`64MB`; 1 KB is 1,024 bytes, as everywhere in this field), or `auto`. Times are for later. */
export const miniBatchSize: z.ZodType<MiniBatchSize> = z.unknown().transform((value, context): MiniBatchSize => {
  const text = String(value).trim().toLowerCase();
  if (text === 'auto') return { kind: 'auto' };
  const files = toNumber(value);
  if (Number.isInteger(files) && files >= 1 && files <= limits.miniBatchFilesMax) return { kind: 'files', files };
  const [, amount, unit] = /^(\d+(?:\.\d+)?)\s*(b|kb|mb|gb|kib|mib|gib)$/.exec(text) ?? [];
  const bytes = Math.floor(Number(amount) * (byteUnits[(unit ?? '').replace('i', '')] ?? NaN));
  if (bytes >= 1) return { kind: 'bytes', bytes };
  const isTime = /^\d+(\.\d+)?\s*(ms|s|m|min|h)$|^pt\d/.test(text);
  const message = isTime
    ? 'a count of files, a size such as 64MB, or auto (mini-batches sized by time are not there yet; auto is nearest)'
    : `a count of files from 1 to ${limits.miniBatchFilesMax}, a size such as 64MB, or auto`;
  context.addIssue({ code: 'custom', message });
  return z.NEVER;
});

/** A file name that stays in its folder and does not look like one of our own. */
export const outputFileName: z.ZodType<string> = field(
  'a file name without "/" and "..", not beginning with "_" or "."',
  (value) =>
    typeof value === 'string' &&
    /^[^_.\\/\p{Cc}][^\\/\p{Cc}]*$/u.test(value) &&
    !value.includes('..') &&
    new TextEncoder().encode(value).length <= 255
      ? value
      : undefined,
);
