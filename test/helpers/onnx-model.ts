/** Writes small ONNX models, so that a test says what it feeds. Protobuf by hand: the few fields of onnx.proto that matter. */

/** A tensor's type and dimensions; a text is a dimension without a number. */
export interface ModelTensor {
  readonly name: string;
  readonly type: keyof typeof elementTypes;
  readonly shape: readonly (number | string)[];
}

export interface ModelNode {
  readonly op: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly domain?: string;
  readonly attributes?: Readonly<Record<string, Attribute>>;
}

/** A Float32Array is a list of floats, other numbers are integers. */
type Attribute = number | string | Float32Array | readonly number[] | readonly string[];

/** Values that the model brings along. */
export interface ModelWeights {
  readonly name: string;
  readonly dims: readonly number[];
  readonly values: Float32Array;
  /** Of external data, which holds the values; absent: the model does. */
  readonly file?: string;
}

export interface OnnxModel {
  readonly inputs: readonly ModelTensor[];
  readonly outputs: readonly (ModelTensor | { readonly name: string; readonly type: 'maps' })[];
  readonly nodes: readonly ModelNode[];
  readonly weights?: readonly ModelWeights[];
}

const elementTypes = {
  float32: 1,
  uint8: 2,
  int32: 6,
  int64: 7,
  string: 8,
  bool: 9,
  float16: 10,
  float64: 11,
} as const;

/** The bytes of an `.onnx` file. @source onnx.proto: field numbers of ModelProto and the messages in it */
export function onnxModel({ inputs, outputs, nodes, weights = [] }: OnnxModel): Buffer {
  const graph = Buffer.concat([
    ...nodes.map((node) => message(1, nodeProto(node))),
    text(2, 'test'),
    ...weights.map((tensor) => message(5, tensorProto(tensor))),
    ...inputs.map((input) => message(11, valueInfo(input.name, tensorType(input)))),
    ...outputs.map((output) =>
      message(12, valueInfo(output.name, output.type === 'maps' ? mapsType() : tensorType(output))),
    ),
  ]);
  return Buffer.concat([
    number(1, 8),
    message(7, graph),
    message(8, Buffer.concat([text(1, ''), number(2, 17)])),
    message(8, Buffer.concat([text(1, 'ai.onnx.ml'), number(2, 3)])),
  ]);
}

function nodeProto({ op, inputs, outputs, domain, attributes }: ModelNode): Buffer {
  return Buffer.concat([
    ...inputs.map((name) => text(1, name)),
    ...outputs.map((name) => text(2, name)),
    text(4, op),
    ...(domain === undefined ? [] : [text(7, domain)]),
    ...Object.entries(attributes ?? {}).map(([name, value]) => message(5, attribute(name, value))),
  ]);
}

function tensorProto({ name, dims, values, file }: ModelWeights): Buffer {
  const sizes = dims.map((dim) => number(1, dim));
  if (file !== undefined) {
    const location = message(13, Buffer.concat([text(1, 'location'), text(2, file)]));
    return Buffer.concat([...sizes, number(2, elementTypes.float32), text(8, name), location, number(14, 1)]);
  }
  return Buffer.concat([...sizes, number(2, elementTypes.float32), text(8, name), message(9, bytesOf(values))]);
}

/** Types of attributes: 2 an integer, 3 a text, 6 floats, 7 integers, 8 texts. */
function attribute(name: string, value: Attribute): Buffer {
  if (typeof value === 'number') return Buffer.concat([text(1, name), number(3, value), number(20, 2)]);
  if (typeof value === 'string') return Buffer.concat([text(1, name), text(4, value), number(20, 3)]);
  if (value instanceof Float32Array) {
    return Buffer.concat([text(1, name), message(7, bytesOf(value)), number(20, 6)]);
  }
  const items = value.map((item) => (typeof item === 'number' ? number(8, item) : text(9, item)));
  return Buffer.concat([text(1, name), ...items, number(20, typeof value[0] === 'number' ? 7 : 8)]);
}

const valueInfo = (name: string, type: Buffer): Buffer => Buffer.concat([text(1, name), message(2, type)]);

function tensorType({ type, shape }: ModelTensor): Buffer {
  const dims = shape.map((dim) => message(1, typeof dim === 'number' ? number(1, dim) : text(2, dim)));
  return message(1, Buffer.concat([number(1, elementTypes[type]), message(2, Buffer.concat(dims))]));
}

/** sequence<map<int64, float>>, what ZipMap gives. */
function mapsType(): Buffer {
  const float = message(1, number(1, elementTypes.float32));
  const map = message(5, Buffer.concat([number(1, elementTypes.int64), message(2, float)]));
  return message(4, message(1, map));
}

/** As protobuf packs them: little-endian, one after the other. */
const bytesOf = (values: Float32Array): Buffer => Buffer.from(values.buffer, values.byteOffset, values.byteLength);
const number = (field: number, value: number): Buffer => Buffer.from([...varint(field << 3), ...varint(value)]);
const text = (field: number, value: string): Buffer => message(field, Buffer.from(value));
const message = (field: number, body: Buffer): Buffer =>
  Buffer.concat([Buffer.from([...varint((field << 3) | 2), ...varint(body.length)]), body]);

function varint(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...varint(value >>> 7)];
}
