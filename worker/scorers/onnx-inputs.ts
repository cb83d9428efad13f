/** What a model takes, read off its inputs: images, or columns of a CSV file. Pure: metadata in, plan out. */
import { BatchError } from '../../common/core/batch-error.ts';
import { cellTypes, isNumericType } from './tensor-cells.ts';

/** One input of a model as onnxruntime-node tells it; a dimension without a number is a name. */
export interface ModelValue {
  readonly name: string;
  readonly isTensor: boolean;
  readonly type: string;
  readonly shape: readonly (number | string)[];
}

/** Pixels: grey or RGB, planes (`nchw`, also without a channel axis) or interleaved (`nhwc`). Null: the image's own size. */
export interface ImagePlan {
  readonly kind: 'image';
  readonly input: string;
  readonly type: ImageType;
  readonly channels: 1 | 3;
  readonly layout: 'nchw' | 'nhwc' | 'nhw';
  readonly height: number | null;
  readonly width: number | null;
  /** Rows that the model wants in every call; null: any number. */
  readonly batch: number | null;
}

/** Columns of a CSV file by name, each an input of its own of shape [n] or [n, 1]. */
export interface ColumnsPlan {
  readonly kind: 'columns';
  readonly inputs: readonly { readonly name: string; readonly type: string; readonly rank: 1 | 2 }[];
  readonly batch: number | null;
}

/** All (numeric) columns of a CSV file in file order as one input of shape [n, features]. */
export interface FeaturesPlan {
  readonly kind: 'features';
  readonly input: string;
  readonly type: string;
  readonly features: number | null;
  readonly batch: number | null;
}

export type InputPlan = ImagePlan | ColumnsPlan | FeaturesPlan;

export const imageTypes = ['float32', 'float16', 'uint8'] as const;
export type ImageType = (typeof imageTypes)[number];

/** Decides how a model is fed. Throws MODEL_UNSUPPORTED with all inputs when it is neither images nor columns. */
export function planInputs(inputs: readonly ModelValue[]): InputPlan {
  const plan = planColumns(inputs) ?? (inputs[0] && inputs.length === 1 ? planSingle(inputs[0]) : null);
  if (plan) return plan;
  throw new BatchError(
    'MODEL_UNSUPPORTED',
    `the built-in scorer feeds images ([n,h,w], [n,1 or 3,h,w] or [n,h,w,1 or 3]), columns of CSV files ([n] or [n,1] each) ` +
      `or one table of features ([n,k]); the model takes ${inputs.map(describeValue).join(', ')}. Use a scoring script`,
  );
}

/** `image: float32[batch,1,28,28]` */
export function describeValue(value: ModelValue): string {
  return value.isTensor ? `${value.name}: ${value.type}[${value.shape.join(',')}]` : `${value.name}: no tensor`;
}

function planColumns(inputs: readonly ModelValue[]): ColumnsPlan | null {
  const isColumn = ({ isTensor, type, shape }: ModelValue): boolean =>
    isTensor && type in cellTypes && (shape.length === 1 || (shape.length === 2 && shape[1] === 1));
  const batches = new Set(inputs.map((input) => fixed(input.shape[0])));
  if (inputs.length === 0 || !inputs.every(isColumn) || batches.size > 1) return null;
  return {
    kind: 'columns',
    inputs: inputs.map(({ name, type, shape }) => ({ name, type, rank: shape.length === 1 ? 1 : 2 })),
    batch: fixed(inputs[0]?.shape[0]),
  };
}

function planSingle(input: ModelValue): InputPlan | null {
  if (!input.isTensor) return null;
  const [batch, second, third, fourth] = input.shape.map(fixed);
  const image = { kind: 'image', input: input.name, type: input.type as ImageType, batch: batch ?? null } as const;
  const size = (
    height: number | null | undefined,
    width: number | null | undefined,
  ): Pick<ImagePlan, 'height' | 'width'> => ({
    height: height ?? null,
    width: width ?? null,
  });
  if (input.shape.length === 2) return planFeatures(input, second ?? null, batch ?? null);
  if (!imageTypes.some((type) => type === input.type)) return null;
  if (input.shape.length === 3) return { ...image, layout: 'nhw', channels: 1, ...size(second, third) };
  if (input.shape.length !== 4) return null;
  if (second === 1 || second === 3) return { ...image, layout: 'nchw', channels: second, ...size(third, fourth) };
  if (fourth === 1 || fourth === 3) return { ...image, layout: 'nhwc', channels: fourth, ...size(second, third) };
  return null;
}

function planFeatures(input: ModelValue, features: number | null, batch: number | null): FeaturesPlan | null {
  if (!isNumericType(input.type) && input.type !== 'string') return null;
  if (!(input.type in cellTypes)) return null;
  return { kind: 'features', input: input.name, type: input.type, features, batch };
}

/** A dimension's number; null for a symbolic one, which has a name, an empty name or −1. */
function fixed(dimension: number | string | undefined): number | null {
  return typeof dimension === 'number' && dimension > 0 ? dimension : null;
}
