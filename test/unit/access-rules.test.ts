import { describe, expect, test } from 'vitest';
import { actsOnJob, mayDo, roleFor } from '../../coordinator/api/access-rules.ts';

describe('which role a request needs', () => {
  test.each([
    ['GET', '/healthz', 'open'],
    ['GET', '/readyz', 'open'],
    ['POST', '/healthz', 'admin'],
    ['GET', '/metrics', 'reader'],
    ['GET', '/v1/jobs', 'reader'],
    ['GET', '/v1/doctor', 'reader'],
    ['HEAD', '/v1/artifacts/:digest', 'reader'],
    ['GET', '/v1/jobs/:name/output/*', 'reader'],
    ['POST', '/v1/jobs', 'invoker'],
    ['POST', '/v1/artifacts', 'invoker'],
    ['POST', '/v1/endpoints/:name/jobs', 'invoker'],
    ['POST', '/azure/endpoints/:endpoint/jobs', 'invoker'],
    ['POST', '/v1/jobs/:name/cancel', 'invoker'],
    ['POST', '/v1/jobs/:name/retry', 'invoker'],
    ['PATCH', '/v1/jobs/:name', 'invoker'],
    ['PUT', '/v1/schedules/:name', 'invoker'],
    ['POST', '/v1/jobs/prune', 'admin'],
    ['POST', '/v1/models', 'admin'],
    ['PUT', '/v1/endpoints/:name', 'admin'],
    ['DELETE', '/v1/endpoints/:name/deployments/:deployment', 'admin'],
    ['PUT', '/v1/computes/:name', 'admin'],
    ['POST', '/v1/nodes/:name/release', 'admin'],
    ['POST', '/v1/nodes/:name/revoke', 'admin'],
    ['GET', '/v1/tokens', 'admin'],
    ['GET', '/v1/secrets', 'admin'],
    ['GET', '/v1/audit', 'admin'],
    ['DELETE', '/v1/tokens/:name', 'admin'],
    ['POST', '/v1/what/nobody/has/thought/of', 'admin'],
  ])('%s %s: %s', (method, route, need) => expect(roleFor(method, route)).toBe(need));

  test('where there is no route, whoever is known is told so', () => expect(roleFor('POST', null)).toBe('reader'));
});

test('each role may what those below it may', () => {
  const table = (['reader', 'invoker', 'admin'] as const).map((role) =>
    (['open', 'reader', 'invoker', 'admin'] as const).map((need) => (mayDo(role, need) ? 'x' : '-')).join(''),
  );
  expect(table).toEqual(['xx--', 'xxx-', 'xxxx']);
});

test('what is done to a job is its owner’s', () => {
  expect(actsOnJob('POST', '/v1/jobs/:name/cancel')).toBe(true);
  expect(actsOnJob('PATCH', '/v1/jobs/:name')).toBe(true);
  expect([
    actsOnJob('GET', '/v1/jobs/:name'),
    actsOnJob('POST', '/v1/jobs'),
    actsOnJob('POST', '/v1/jobs/prune'),
  ]).toEqual(Array(3).fill(false));
});
