/** The OpenAPI document, by a validator that is not ours, and real replies held against it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Validator } from '@seriousme/openapi-schema-validator';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startApi, type ApiHandle } from '../../coordinator/api/server.ts';
import { FakeBackend } from '../helpers/fake-backend.ts';

interface Operation {
  readonly operationId: string;
  readonly tags: readonly string[];
  readonly summary: string;
  readonly parameters?: readonly { readonly name: string; readonly in: string; readonly required?: boolean }[];
  readonly responses: Readonly<Record<string, { readonly content?: Readonly<Record<string, unknown>> }>>;
}
interface Document {
  readonly openapi: string;
  readonly info: { readonly version: string };
  readonly tags: readonly { readonly name: string }[];
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, unknown>> };
}

let dir = '';
let api: ApiHandle;
let document: Document;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'batchmill-openapi-'));
  api = await startApi({ backend: new FakeBackend(dir), host: '127.0.0.1', port: 0, onDefect: () => undefined });
  document = (await (await fetch(url('/openapi.json'))).json()) as Document;
});
afterAll(async () => {
  await api.close();
  await rm(dir, { recursive: true, force: true });
});
const url = (path: string): string => `http://127.0.0.1:${api.address.port}${path}`;

const operations = (): readonly (readonly [string, Operation])[] =>
  Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => [`${method} ${path}`, operation] as const),
  );

describe('the document', () => {
  test('is OpenAPI 3.1, by a validator of others, which refuses one that is not', async () => {
    // It writes into what it is given.
    const whole = structuredClone(document) as unknown as Record<string, unknown>;
    const validator = new Validator();
    expect(await validator.validate(whole)).toEqual({ valid: true });
    expect(validator.version).toBe('3.1');
    const broken = { ...document, paths: { '/v1/jobs': { get: { responses: 'none' } } } };
    expect((await new Validator().validate(broken)).valid).toBe(false);
  });

  test('every operation has a name of its own, a known tag, a summary and the problem reply', () => {
    const names = operations().map(([, { operationId }]) => operationId);
    expect(names.filter((name) => !/^[a-z][A-Za-z]+$/.test(name))).toEqual([]);
    expect(new Set(names).size).toBe(names.length);
    const tags = new Set(document.tags.map(({ name }) => name));
    for (const [route, operation] of operations()) {
      expect([route, operation.tags.every((tag) => tags.has(tag)), operation.summary !== '']).toEqual([
        route,
        true,
        true,
      ]);
      const problems = Object.keys(operation.responses['default']?.content ?? {});
      expect([route, problems]).toEqual([route, ['application/problem+json']]);
    }
  });

  test('each parameter of a path is declared, and references lead somewhere', () => {
    for (const [route, { parameters = [] }] of operations()) {
      const named = [...route.matchAll(/\{([^}]+)\}/g)].map(([, name]) => name);
      const declared = parameters.filter((one) => one.in === 'path' && one.required === true).map(({ name }) => name);
      expect([route, declared.sort()]).toEqual([route, named.sort()]);
    }
    const refs = [...JSON.stringify(document).matchAll(/"\$ref":"#\/components\/schemas\/([^"]+)"/g)].map(
      ([, to]) => to,
    );
    expect(refs.length).toBeGreaterThan(20);
    expect([...new Set(refs)].sort()).toEqual(Object.keys(document.components.schemas).sort());
  });
});
