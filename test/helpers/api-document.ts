/** The OpenAPI document that a coordinator serves, to hold what it answers against. */
import { Ajv2020 } from 'ajv/dist/2020.js';

interface Media {
  readonly schema?: Schema;
}
interface Schema {
  [key: string]: unknown;
}
export interface Operation {
  readonly operationId: string;
  readonly tags: readonly string[];
  readonly summary: string;
  readonly parameters?: readonly { readonly name: string; readonly in: string; readonly required?: boolean }[];
  readonly responses: Readonly<Record<string, { readonly content?: Readonly<Record<string, Media>> }>>;
}
export interface ApiText {
  readonly openapi: string;
  readonly tags: readonly { readonly name: string }[];
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> };
}

export class ApiDocument {
  readonly text: ApiText;
  readonly #ajv = new Ajv2020({ strict: false, allErrors: true, validateFormats: false });

  /** `text`: as it is served. What is not in it counts as wrong here, although clients must bear it. */
  constructor(text: ApiText) {
    this.text = text;
    this.#ajv.addSchema(closed(text) as Schema, 'api');
  }

  static async of(origin: string): Promise<ApiDocument> {
    return new ApiDocument((await (await fetch(`${origin}/openapi.json`)).json()) as ApiText);
  }

  /** `get /v1/jobs` and what it is. */
  operations(): readonly (readonly [string, Operation])[] {
    return Object.entries(this.text.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => [`${method} ${path}`, operation] as const),
    );
  }

  /** What of a JSON body is not as the document says; empty when all is. */
  differences(route: string, status: number, body: unknown): readonly string[] {
    const [method = '', path = ''] = route.split(' ');
    const responses: Operation['responses'] = this.text.paths[path]?.[method]?.responses ?? {};
    const key = String(status) in responses ? String(status) : 'default';
    const type = Object.keys(responses[key]?.content ?? {})[0];
    if (type === undefined) return [`${route} does not say that it answers ${status}`];
    const escaped = (part: string): string => encodeURIComponent(part.replaceAll('~', '~0').replaceAll('/', '~1'));
    const pointer = ['paths', path, method, 'responses', key, 'content', type, 'schema'].map(escaped).join('/');
    const validate = this.#ajv.compile({ $ref: `api#/${pointer}` });
    if (validate(body)) return [];
    return (validate.errors ?? []).map(({ instancePath, message, params }) =>
      [instancePath, message ?? '', JSON.stringify(params)].join(' '),
    );
  }
}

/** Objects whose keys are told have no others. */
function closed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(closed);
  if (typeof value !== 'object' || value === null) return value;
  const all = Object.fromEntries(Object.entries(value).map(([key, one]) => [key, closed(one)]));
  const isOpen = all['type'] === 'object' && 'properties' in all && !('additionalProperties' in all);
  return isOpen ? { ...all, additionalProperties: false } : all;
}
