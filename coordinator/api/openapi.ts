/**
 * Checks requests by the schemas of their routes and makes the OpenAPI document from the same schemas.
 * @source OpenAPI 3.1.0
 */
import swagger, { type SwaggerTransform, type SwaggerTransformObject } from '@fastify/swagger';
import type { FastifyInstance, FastifySchema } from 'fastify';
import { createJsonSchemaTransform, createJsonSchemaTransformObject } from 'fastify-type-provider-zod';
import type { z } from 'zod';
import { apiTags, invalidError } from './typed-route.ts';

/** A JSON document whose insides are looked at by name. */
type Json = Record<string, unknown>;

/** Resolves when routes may be declared. `release`: version of the document. */
export async function describeApi(app: FastifyInstance, release: string): Promise<void> {
  app.setValidatorCompiler<z.ZodType>(({ schema, httpPart }) => (data: unknown) => {
    // A body may be left out where no key of it is needed.
    const result = schema.safeParse(httpPart === 'body' ? (data ?? {}) : data);
    if (result.success) return { value: result.data };
    return { error: invalidError(result.error, '', httpPart === 'body' ? 'the body' : `the ${httpPart ?? 'request'}`) };
  });
  // Replies go out as they are: a list of thousands of jobs is not looked at twice. Tests hold them against their schemas.
  app.setSerializerCompiler(() => (data) => JSON.stringify(data));
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Batchmill',
        description: 'Scores folders of files with a model, on machines that you own.',
        version: release,
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      },
      servers: [{ url: '/', description: 'this coordinator' }],
      tags: Object.entries(apiTags).map(([name, description]) => ({ name, description })),
      components: {
        securitySchemes: {
          bearer: { type: 'http', scheme: 'bearer', description: 'not asked for while only this machine is served' },
        },
      },
      security: [{ bearer: [] }, {}],
    },
    transform,
    transformObject,
  });
}

/** An object that may get more keys in a later release is not closed; one of a request that refuses unknown keys is. */
const config = {
  override: ({ zodSchema, jsonSchema }: { readonly zodSchema: z.core.$ZodTypes; readonly jsonSchema: Json }): void => {
    const { def } = zodSchema._zod;
    if (def.type === 'object' && def.catchall === undefined) delete jsonSchema['additionalProperties'];
    // A pair of numbers, in words that generators of clients know.
    if (def.type === 'tuple') {
      jsonSchema['items'] = (jsonSchema['prefixItems'] as readonly unknown[])[0];
      delete jsonSchema['prefixItems'];
    }
    // Generators know plain defaults only.
    if (typeof jsonSchema['default'] === 'object') delete jsonSchema['default'];
    // Other spellings of the same word are taken, and not told.
    const words = jsonSchema['enum'];
    if (Array.isArray(words)) jsonSchema['enum'] = oneSpelling(words as readonly unknown[]);
    // What is `readonly` in TypeScript is not `readOnly` there; the pattern says what the format says.
    delete jsonSchema['readOnly'];
    if (jsonSchema['format'] === 'date-time') delete jsonSchema['pattern'];
    if (jsonSchema['maximum'] === Number.MAX_SAFE_INTEGER) delete jsonSchema['maximum'];
    if (jsonSchema['minimum'] === Number.MIN_SAFE_INTEGER) delete jsonSchema['minimum'];
  },
};
function oneSpelling(words: readonly unknown[]): readonly unknown[] {
  const folded = (word: unknown): string => String(word).replaceAll('_', '').toLowerCase();
  const seen = new Set<string>();
  return words.filter((word) => !seen.has(folded(word)) && seen.add(folded(word)));
}

const zodTransform = createJsonSchemaTransform({ zodToJsonConfig: config, skipList: [] });
const zodTransformObject = createJsonSchemaTransformObject({ zodToJsonConfig: config });

/** `/v1/jobs/:name/output/*` has a parameter without a name, which a document cannot have: it is called `path`. */
const transform: SwaggerTransform<FastifySchema> = (document) => {
  const { schema, url } = zodTransform(document);
  const params = (schema as { params?: { properties?: Json; required?: readonly string[] } } | null)?.params;
  if (params?.properties && '*' in params.properties) {
    const { '*': path, ...others } = params.properties;
    params.properties = { ...others, path };
    params.required = (params.required ?? []).map((name) => (name === '*' ? 'path' : name));
  }
  return { schema: schema ?? { hide: true }, url: url.replace(/\/\*$/, '/:path') };
};

/** Each named schema is made twice, as it is sent and as it is received; what nobody refers to goes. */
const transformObject: SwaggerTransformObject = (document) => {
  const made = zodTransformObject(document) as unknown as Json & { components: { schemas: Json } };
  const { schemas } = made.components;
  const used = new Set<string>();
  const visit = (value: unknown): void => {
    for (const name of JSON.stringify(value).matchAll(/"#\/components\/schemas\/([^"/]+)"/g)) {
      if (used.has(name[1] as string)) continue;
      used.add(name[1] as string);
      visit(schemas[name[1] as string] ?? null);
    }
  };
  visit(made['paths']);
  const kept = Object.entries(schemas).filter(([name]) => used.has(name));
  // What is only received is called by its plain name.
  const plain = (name: string): string =>
    name.endsWith('Input') && !used.has(name.slice(0, -5)) ? name.slice(0, -5) : name;
  const sorted = Object.fromEntries(kept.sort(([a], [b]) => (a < b ? -1 : 1)));
  const text = JSON.stringify(
    { ...made, components: { ...made.components, schemas: sorted } },
    (key, value: unknown) =>
      key === 'schemas'
        ? Object.fromEntries(Object.entries(value as Json).map(([name, one]) => [plain(name), one]))
        : value,
  );
  return JSON.parse(
    text.replace(
      /"#\/components\/schemas\/([^"/]+)"/g,
      (_all, name: string) => `"#/components/schemas/${plain(name)}"`,
    ),
  ) as ReturnType<SwaggerTransformObject>;
};
