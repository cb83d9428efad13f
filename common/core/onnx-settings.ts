/**
 * `settings.onnx` of a deployment: what the built-in ONNX scorer is told about a model. Null: inferred from the model, and
 * said in the log of the scoring host.
 */

export type ImageLayout = 'nchw' | 'nhwc';
export type ImageChannels = 'gray' | 'rgb' | 'bgr';
/** Execution providers of onnxruntime. */
export const executionProviders = ['cpu', 'cuda', 'tensorrt', 'webgpu'] as const;
export type ExecutionProvider = (typeof executionProviders)[number];

export interface OnnxImageSettings {
  readonly layout: ImageLayout | null;
  /** Pixels. */
  readonly width: number | null;
  readonly height: number | null;
  readonly channels: ImageChannels | null;
  /** A pixel 0..255 becomes `(pixel * scale - mean) / std`; one number for all channels or one for each, in the model's order. */
  readonly scale: number;
  readonly mean: readonly number[];
  readonly std: readonly number[];
}

export interface OnnxSettings {
  readonly image: OnnxImageSettings;
  /** Input of the model to column of the file, where their names differ; several columns side by side for an input [n, k]. */
  readonly columns: Readonly<Record<string, string | readonly string[]>>;
  /** Columns of the file that are the only input [n, k], in this order; null: all that suit, in file order. */
  readonly features: readonly string[] | null;
  /** A missing value: refused (the file fails), or replaced by this; the text `nan` is no number where the input is of floats. */
  readonly missing: 'refuse' | { readonly fill: number | string };
  /** Rows of one call of the model at most; null: auto. */
  readonly batchRows: number | null;
  /** Names of classes, by index. */
  readonly labels: readonly string[] | null;
  /** Only the best so many classes, best first. */
  readonly topK: number | null;
  /** Outputs of the model that become columns; null: all. */
  readonly outputs: readonly string[] | null;
  /** Tried in this order. */
  readonly providers: readonly ExecutionProvider[];
}

/** Nothing told. */
export const defaultOnnxSettings: OnnxSettings = {
  image: { layout: null, width: null, height: null, channels: null, scale: 1, mean: [], std: [] },
  columns: {},
  features: null,
  missing: 'refuse',
  batchRows: null,
  labels: null,
  topK: null,
  outputs: null,
  providers: ['cpu'],
};

/** A number, or a fraction such as `1/255`; NaN for what is neither. */
export function fractionOf(value: unknown): number {
  if (typeof value === 'number') return value;
  const [, upper, lower] = /^\s*([^/\s]+)\s*(?:\/\s*([^/\s]+)\s*)?$/.exec(String(value)) ?? [];
  return upper === undefined ? NaN : Number(upper) / (lower === undefined ? 1 : Number(lower));
}

/** The defaults with another factor for pixels. */
export function scaledOnnxSettings(scale: number): OnnxSettings {
  return { ...defaultOnnxSettings, image: { ...defaultOnnxSettings.image, scale } };
}
