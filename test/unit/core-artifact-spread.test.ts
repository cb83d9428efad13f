import { describe, expect, test } from 'vitest';
import { digest, monotonicMs, nodeName, type NodeName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import { ArtifactSpread } from '../../coordinator/core/artifact-spread.ts';

const model = digest(`sha256:${'a'.repeat(64)}`);
const bytes = 100_000_000;
const node = (index: number): NodeName => nodeName(`n${index}`);
const at = monotonicMs;

/** All nodes ask; a fetch takes one round. How many took it from the coordinator, how many rounds it took, who gave it to how many. */
function spreadTo(nodes: number): { fromCoordinator: number; rounds: number; servedMax: number } {
  const spread = new ArtifactSpread();
  const given = new Map<string, number>();
  let [fromCoordinator, rounds] = [0, 0];
  let waiting = Array.from({ length: nodes }, (_, index) => node(index));
  for (; waiting.length > 0 && rounds < 1_000; rounds += 1) {
    const later: NodeName[] = [];
    const done: NodeName[] = [];
    for (const one of waiting) {
      const choice = spread.choose({ node: one, digest: model, bytes, failed: [] }, at(rounds));
      if (choice.from === 'later') later.push(one);
      else done.push(one);
      if (choice.from === 'coordinator') fromCoordinator += 1;
      if (choice.from === 'node') given.set(choice.node, (given.get(choice.node) ?? 0) + 1);
    }
    for (const one of done) spread.offered(one, model);
    waiting = later;
  }
  return { fromCoordinator, rounds, servedMax: Math.max(0, ...given.values()) };
}

describe('who takes an artifact from whom', () => {
  test('the coordinator gives it to two nodes, whatever their number, and the others have it in logarithmic time', () => {
    expect(spreadTo(1)).toEqual({ fromCoordinator: 1, rounds: 1, servedMax: 0 });
    expect(spreadTo(20)).toMatchObject({ fromCoordinator: 2, rounds: 3 });
    expect(spreadTo(1_000)).toMatchObject({ fromCoordinator: 2, rounds: 5 });
  });

  test('a node that has it serves only so many at once, the one with least to do first', () => {
    const spread = new ArtifactSpread();
    spread.offered(node(1), model);
    spread.offered(node(2), model);
    const ask = (index: number): string => {
      const choice = spread.choose({ node: node(index), digest: model, bytes, failed: [] }, at(0));
      return choice.from === 'node' ? choice.node : choice.from;
    };
    const asked = Array.from({ length: 2 * limits.artifactServedMax }, (_, index) => ask(10 + index));
    expect(asked).toEqual(['n1', 'n2', 'n1', 'n2', 'n1', 'n2', 'n1', 'n2']);
    expect(ask(30)).toBe('later');
    spread.offered(node(11), model);
    expect([ask(30), ask(31)]).toEqual(['n11', 'n11']);
  });

  test('who falls silent is not waited for, and its seat goes to the next', () => {
    const spread = new ArtifactSpread();
    const ask = (index: number, now: number): string =>
      spread.choose({ node: node(index), digest: model, bytes, failed: [] }, at(now)).from;
    expect([ask(1, 0), ask(2, 0), ask(3, 0)]).toEqual(['coordinator', 'coordinator', 'later']);
    const believedMs = limits.artifactSpreadMsMin + bytes / limits.artifactSpreadBytesPerMs;
    expect([ask(3, believedMs - 1), ask(3, believedMs)]).toEqual(['later', 'coordinator']);
  });

  test('a node that others cannot reach is named no more, until somebody has had it from there', () => {
    const spread = new ArtifactSpread();
    spread.offered(node(1), model);
    const ask = (index: number, failed: readonly NodeName[] = []): string =>
      spread.choose({ node: node(index), digest: model, bytes, failed }, at(0)).from;
    expect(ask(2)).toBe('node');
    expect(ask(2, [node(1)])).toBe('coordinator');
    expect(ask(3)).toBe('node');
    expect(ask(3, [node(1)])).toBe('coordinator');
    // Two take it from the coordinator already.
    expect(ask(4)).toBe('later');
    spread.forget(node(1));
    spread.offered(node(1), model);
    expect(ask(4)).toBe('node');
  });

  test('behind a firewall it comes from the coordinator after a few tries, however many take it there', () => {
    const spread = new ArtifactSpread();
    for (const holder of [1, 2, 3]) spread.offered(node(holder), model);
    for (const one of [10, 11]) spread.choose({ node: node(one), digest: model, bytes, failed: [] }, at(0));
    const failed: NodeName[] = [];
    let last = '';
    for (let tries = 0; tries < 10 && last !== 'coordinator'; tries += 1) {
      const choice = spread.choose({ node: node(20), digest: model, bytes, failed }, at(0));
      last = choice.from;
      if (choice.from === 'node') failed.push(choice.node);
    }
    expect([last, failed.length]).toEqual(['coordinator', 3]);
  });

  test('remembers a bounded number of artifacts', () => {
    const spread = new ArtifactSpread();
    spread.offered(node(1), model);
    const other = (index: number): ReturnType<typeof digest> => digest(`sha256:${String(index).padStart(64, '0')}`);
    for (let index = 0; index < limits.artifactSpreadsMax; index += 1) spread.offered(node(2), other(index));
    expect(spread.choose({ node: node(3), digest: model, bytes, failed: [] }, at(0)).from).toBe('coordinator');
  });
});
