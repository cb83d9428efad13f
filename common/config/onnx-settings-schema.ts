/** `settings.onnx` of a deployment file: its keys, their spellings, and how they become settings in which nothing is optional. */
import { readFile } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import * as z from 'zod';
import { limits } from '../core/limits.ts';
import {
  defaultOnnxSettings,
  executionProviders,
  fractionOf,
  type ExecutionProvider,
  type ImageChannels,
  type ImageLayout,
  type OnnxImageSettings,
  type OnnxSettings,
} from '../core/onnx-settings.ts';
import type { ConfigProblem, KeyPath } from './config-source.ts';
import { field, oneOf, wholeNumber } from './field-types.ts';
import { nearestWord } from './nearest-word.ts';

type Maybe<T> = T | null | undefined;
type ChannelNumbers = readonly number[] | 'imagenet';

/** Keys as a file gives them: right in type, possibly absent. */
export interface RawOnnx {
  readonly scale?: Maybe<number>;
  readonly image?: Maybe<{
    readonly layout?: Maybe<ImageLayout>;
    readonly width?: Maybe<number>;
    readonly height?: Maybe<number>;
    readonly channels?: Maybe<ImageChannels>;
    readonly scale?: Maybe<number>;
    readonly mean?: Maybe<ChannelNumbers>;
    readonly std?: Maybe<ChannelNumbers>;
  }>;
  readonly columns?: Maybe<Columns>;
  readonly missing?: Maybe<OnnxSettings['missing']>;
  readonly batch_rows?: Maybe<number | 'auto'>;
  readonly labels?: Maybe<readonly string[] | { readonly path: string }>;
  readonly top_k?: Maybe<number>;
  readonly outputs?: Maybe<readonly string[]>;
  readonly providers?: Maybe<readonly ExecutionProvider[]>;
}

/** A mapping from inputs to columns, or the columns of the only input. */
type Columns = OnnxSettings['columns'] | readonly string[];

const isText = (value: unknown): value is string => typeof value === 'string' && value !== '';
const isTextOrNumber = (value: unknown): value is string | number => isText(value) || typeof value === 'number';
const texts = (value: unknown): readonly string[] | undefined => {
  if (!Array.isArray(value) || value.length === 0 || !value.every(isTextOrNumber)) return undefined;
  return value.map(String);
};

const factor: z.ZodType<number> = field('a number above 0, or a fraction such as 1/255', (value) => {
  const number = fractionOf(value);
  return Number.isFinite(number) && number > 0 ? number : undefined;
});

const channelNumbers = (wanted: string, isFine: (number: number) => boolean): z.ZodType<ChannelNumbers> =>
  field(wanted, (value) => {
    if (value === 'imagenet') return value;
    const numbers = (Array.isArray(value) ? value : [value]).map(fractionOf);
    const isRight = numbers.every((number) => Number.isFinite(number) && isFine(number));
    return isRight && (numbers.length === 1 || numbers.length === 3) ? numbers : undefined;
  });

const columnsField: z.ZodType<Columns> = field(
  'a list of columns, or a mapping from inputs of the model to columns',
  (value) => {
    if (Array.isArray(value)) return texts(value);
    if (typeof value !== 'object' || value === null) return undefined;
    const entries = Object.entries(value).map(([input, found]): [string, string | readonly string[] | undefined] => [
      input,
      isTextOrNumber(found) ? String(found) : texts(found),
    ]);
    return entries.some(([, found]) => found === undefined) ? undefined : (Object.fromEntries(entries) as Columns);
  },
);

/** `refuse`, `nan`, or `{fill: …}`. YAML's own `.nan` is no JSON, which settings travel as, so it becomes the text. */
const missing: z.ZodType<OnnxSettings['missing']> = field(
  'refuse, nan, or a mapping with fill: a number or a text',
  (value) => {
    if (value === 'refuse') return value;
    if (String(value).toLowerCase() === 'nan') return { fill: 'nan' };
    if (typeof value !== 'object' || value === null || Object.keys(value).join() !== 'fill') return undefined;
    const { fill } = value as { fill: unknown };
    if (typeof fill === 'number') return { fill: Number.isFinite(fill) ? fill : String(fill).toLowerCase() };
    return typeof fill === 'string' ? { fill } : undefined;
  },
);

const labels: z.ZodType<readonly string[] | { readonly path: string }> = field(
  'a list of names, or the path of a text or JSON file with them',
  (value) => (isText(value) ? { path: value } : texts(value)),
);

const outputs: z.ZodType<readonly string[]> = field('a list of outputs of the model', (value) =>
  isText(value) ? [value] : texts(value),
);

const providers: z.ZodType<readonly ExecutionProvider[]> = z.unknown().transform((value, context) => {
  const names = (Array.isArray(value) ? value : [value]).map((name) =>
    String(name)
      .toLowerCase()
      .replace(/executionprovider$/, ''),
  );
  const unknown = names.find((name) => !executionProviders.some((known) => known === name));
  if (names.length > 0 && unknown === undefined) return [...new Set(names as ExecutionProvider[])];
  const near = unknown === undefined ? null : nearestWord(unknown, executionProviders);
  const hint = near === null ? '' : ` (${unknown}: did you mean ${near}?)`;
  context.addIssue({ code: 'custom', message: `a list of providers among ${executionProviders.join(', ')}${hint}` });
  return z.NEVER;
});

const side = wholeNumber(1, 65_535);

/** The keys below `settings.onnx`. */
export const onnxKeys: z.ZodObject<Record<string, z.ZodType>> & z.ZodType<RawOnnx> = z.strictObject(
  {
    scale: factor.nullish(),
    image: z
      .strictObject(
        {
          layout: oneOf(['nchw', 'nhwc']).nullish(),
          width: side.nullish(),
          height: side.nullish(),
          channels: oneOf(['gray', 'rgb', 'bgr'], { grey: 'gray' }).nullish(),
          scale: factor.nullish(),
          mean: channelNumbers('a number, three (one a channel), or imagenet', () => true).nullish(),
          std: channelNumbers(
            'numbers other than 0: one, or three (one a channel), or imagenet',
            (n) => n !== 0,
          ).nullish(),
        },
        'a mapping',
      )
      .nullish(),
    columns: columnsField.nullish(),
    missing: missing.nullish(),
    batch_rows: field('auto, or rows from 1 to 1000000', (value): number | 'auto' | undefined => {
      const rows = Number(value);
      return value === 'auto' ? value : Number.isInteger(rows) && rows >= 1 && rows <= 1_000_000 ? rows : undefined;
    }).nullish(),
    labels: labels.nullish(),
    top_k: wholeNumber(1).nullish(),
    outputs: outputs.nullish(),
    providers: providers.nullish(),
  },
  'a mapping',
) as never;

/**
 * Settings with every default filled in; `labels` given as a path is read here, relative to `baseDir`. What is wrong goes to
 * `problems`, under `path`.
 */
export async function resolveOnnx(
  raw: RawOnnx,
  path: KeyPath,
  baseDir: string,
  problems: ConfigProblem[],
): Promise<OnnxSettings> {
  const fail = (key: readonly string[], message: string, code: ConfigProblem['code'] = 'CONFIG_INVALID'): void => {
    problems.push({
      code,
      path: [...path, ...key],
      at: 'value',
      message: `${[...path, ...key].join('.')}: ${message}`,
    });
  };
  const names = raw.labels ?? null;
  const topK = raw.top_k ?? null;
  const found = names !== null && 'path' in names ? await readLabels(names.path, baseDir, fail) : names;
  if (found !== null && found.join('').length > limits.labelsCharsMax) {
    fail(['labels'], `wanted names of at most ${limits.labelsCharsMax} characters together`);
  }
  if (found !== null && topK !== null && topK > found.length) {
    fail(['top_k'], `wanted at most ${found.length}, the number of labels, found ${topK}`);
  }
  const columns = raw.columns ?? {};
  return {
    image: imageOf(raw, fail),
    columns: isList(columns) ? {} : columns,
    features: isList(columns) ? columns : null,
    missing: raw.missing ?? defaultOnnxSettings.missing,
    batchRows: raw.batch_rows === 'auto' ? null : (raw.batch_rows ?? null),
    labels: found,
    topK,
    outputs: raw.outputs ?? null,
    providers: raw.providers ?? defaultOnnxSettings.providers,
  };
}

const isList = (columns: Columns): columns is readonly string[] => Array.isArray(columns);

/** @source torchvision's normalisation of ImageNet models: red, green, blue of pixels 0 to 1 */
const imagenet = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] } as const;

type Fail = (key: readonly string[], message: string, code?: ConfigProblem['code']) => void;

function imageOf(raw: RawOnnx, fail: Fail): OnnxImageSettings {
  const image = raw.image ?? {};
  const channels = image.channels ?? null;
  const isImagenet = image.mean === 'imagenet' || image.std === 'imagenet';
  const numbersOf = (key: 'mean' | 'std'): readonly number[] => {
    const value = image[key] ?? [];
    if (value !== 'imagenet' && (value.length < 3 || channels !== 'gray')) return value;
    if (channels === 'gray')
      fail(['image', key], 'wanted one number, as channels is gray, found one for each of three');
    if (value !== 'imagenet') return value;
    return channels === 'bgr' ? imagenet[key].toReversed() : imagenet[key];
  };
  return {
    layout: image.layout ?? null,
    width: image.width ?? null,
    height: image.height ?? null,
    channels,
    scale: raw.scale ?? image.scale ?? (isImagenet ? 1 / 255 : 1),
    mean: numbersOf('mean'),
    std: numbersOf('std'),
  };
}

/** One name a line, or JSON: a list, or an object whose keys are the places from 0 on. */
async function readLabels(value: string, baseDir: string, fail: Fail): Promise<readonly string[] | null> {
  const path = resolve(baseDir, value);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    const isAbsent = (error as NodeJS.ErrnoException).code === 'ENOENT';
    const what = isAbsent ? `${value} does not exist (looked for ${path})` : `${path}: ${(error as Error).message}`;
    fail(['labels'], what, isAbsent ? 'DEPLOYMENT_NOT_FOUND' : 'CONFIG_INVALID');
    return null;
  }
  const names = namesIn(text.replace(/^\ufeff/, ''));
  if (names !== null) return names;
  fail(
    ['labels'],
    `${basename(path)}: wanted one name a line, a JSON list of texts, or a JSON object from 0, 1, … to texts`,
  );
  return null;
}

function namesIn(text: string): readonly string[] | null {
  if (!/^\s*[[{]/.test(text)) {
    const lines = text.split(/\r?\n/).map((line) => line.trim());
    while (lines.at(-1) === '') lines.pop();
    return lines.length > 0 && !lines.includes('') ? lines : null;
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (Array.isArray(value)) return texts(value) ?? null;
  const byPlace = value as Readonly<Record<string, unknown>>;
  return texts(Object.keys(byPlace).map((_, place) => byPlace[String(place)])) ?? null;
}
