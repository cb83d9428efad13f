/**
 * The keys of every kind of YAML as JSON Schema, for editors: made from the shapes that the program itself reads with. Numbers as
 * text, words in any case and empty values are let through as they are here; rules between keys are left to `validate`.
 */
import * as z from 'zod';
import { computeSchema, dataSchema, endpointSchema, environmentSchema, modelSchema } from './asset-schemas.ts';
import type { ConfigKind } from './config-kind.ts';
import { flatSchema, nestedSchema } from './deployment-schema.ts';
import type { JsonSchema } from './field-types.ts';

/** Draft 7: what the YAML language server of editors understands best. */
const draft = 'http://json-schema.org/draft-07/schema#';

const titles: Readonly<Record<ConfigKind, string>> = {
  endpoint: 'Batch endpoint',
  deployment: 'Batch deployment',
  model: 'Model',
  data: 'Data asset',
  environment: 'Environment',
  compute: 'Compute',
};

/** By kind. */
export function jsonSchemas(): Readonly<Record<ConfigKind, JsonSchema>> {
  return {
    endpoint: titled('endpoint', objectOf(endpointSchema)),
    deployment: titled('deployment', {
      if: { anyOf: [{ required: ['type'] }, { required: ['settings'] }] },
      then: withTexts(objectOf(nestedSchema), ['model', 'environment']),
      else: withTexts(objectOf(flatSchema), ['model', 'environment']),
    }),
    model: titled('model', objectOf(modelSchema)),
    data: titled('data', objectOf(dataSchema)),
    environment: titled('environment', objectOf(environmentSchema)),
    compute: titled('compute', objectOf(computeSchema)),
  };
}

/** The text of a schema file. */
export function formatJsonSchema(schema: JsonSchema): string {
  return `${JSON.stringify(schema, null, 2)}\n`;
}

function titled(kind: ConfigKind, schema: JsonSchema): JsonSchema {
  return { $schema: draft, title: titles[kind], type: 'object', ...schema };
}

function objectOf(schema: z.ZodType): JsonSchema {
  const { $schema: _, ...json } = z.toJSONSchema(schema, { io: 'input', target: 'draft-07', unrepresentable: 'any' });
  return simplified(json) as JsonSchema;
}

/** Keys that take a plain text as well as a mapping: zod sees the mapping only. */
function withTexts(schema: JsonSchema, keys: readonly string[]): JsonSchema {
  const properties = schema['properties'] as Readonly<Record<string, JsonSchema>>;
  const widened = keys.map((key): [string, JsonSchema] => {
    const { description, ...inner } = properties[key] ?? {};
    return [key, { description, anyOf: [{ type: 'string' }, inner] }];
  });
  return { ...schema, properties: { ...properties, ...Object.fromEntries(widened) } };
}

/** `anyOf: [x, null]` as one schema where that says the same: editors show it better. */
function simplified(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(simplified);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).map(([key, inner]) => [key, simplified(inner)] as const);
  const { anyOf, ...rest } = Object.fromEntries(entries) as { readonly anyOf?: readonly JsonSchema[] } & JsonSchema;
  if (anyOf?.length !== 2 || anyOf[1]?.['type'] !== 'null') return anyOf === undefined ? rest : { ...rest, anyOf };
  const [first = {}] = anyOf;
  const types = [first['type'] ?? []].flat();
  if (types.length > 0) return { ...first, ...rest, type: [...new Set([...types, 'null'])] };
  const inner = first['anyOf'];
  return Array.isArray(inner)
    ? { ...first, ...rest, anyOf: [...(inner as JsonSchema[]), { type: 'null' }] }
    : { ...first, ...rest };
}
