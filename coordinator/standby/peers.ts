/**
 * What the coordinator that leads asks of those that stand by: who they are, and whether they see the folders that they would go on
 * with. That a folder is the same is proved by a file that is written there and read by them.
 */
import { randomUUID } from 'node:crypto';
import { readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { BatchError } from '../../common/core/batch-error.ts';
import { limits } from '../../common/core/limits.ts';
import { parseJson } from '../../common/core/parse-json.ts';

import { errnoOf, reasonOf } from '../../common/io/errno.ts';
import { makeFolder } from '../../common/io/make-folder.ts';
import type { PeerBus } from '../../common/ports/peer-bus.ts';
import { nameOf, cardOf, textOfCard, type LeaderCard } from './leader-card.ts';

const question = z.object({
  /** Absolute; with the text that stands there. */
  proofs: z.array(z.object({ path: z.string(), text: z.string() })),
  /** Absolute; have to be there. */
  inputs: z.array(z.string()),
});
type Question = z.infer<typeof question>;

const answer = z.object({ from: z.string(), missing: z.array(z.object({ path: z.string(), why: z.string() })) });

/** Answers while this coordinator stands by; returns how to end that. */
export function answerAsStandby(bus: PeerBus, self: LeaderCard): () => void {
  return bus.answer(async (text) => {
    const asked = question.safeParse(parseJson(text));
    if (!asked.success) return null;
    const missing = await missingHere(asked.data);
    return JSON.stringify({ from: textOfCard(self), missing });
  });
}

/** Who stands by now. */
export async function standbys(bus: PeerBus): Promise<readonly LeaderCard[]> {
  return (await asked(bus, { proofs: [], inputs: [] })).map(({ from }) => cardOf(from));
}

export interface SeenPlaces {
  /** Folders that results go to; made when absent. */
  readonly folders: readonly string[];
  /** Files or folders that are only read. */
  readonly inputs: readonly string[];
}

/** @throws STANDBY_STORAGE when one that stands by could not go on there */
export async function requireSeen(bus: PeerBus, { folders, inputs }: SeenPlaces): Promise<void> {
  const text = randomUUID();
  const proofs = folders.map((folder) => ({ path: join(folder, `.batchmill-proof-${text}`), text }));
  try {
    for (const folder of folders) await makeFolder(folder);
    for (const { path } of proofs) await writeFile(path, text);
    for (const { from, missing } of await asked(bus, { proofs, inputs: [...inputs] })) {
      const [first] = missing;
      if (!first) continue;
      const place = folders[proofs.findIndex(({ path }) => path === first.path)] ?? first.path;
      throw new BatchError(
        'STANDBY_STORAGE',
        `${place} is not seen by ${nameOf(cardOf(from))}, which stands by and could not go on with the job: ${first.why}. ` +
          'Choose a folder on storage that all coordinators have, or a location such as s3://…, or end that standby',
      );
    }
  } finally {
    for (const { path } of proofs) await rm(path, { force: true });
  }
}

async function asked(bus: PeerBus, what: Question): Promise<readonly z.infer<typeof answer>[]> {
  const texts = await bus.ask(JSON.stringify(what), limits.standbyAnswerMs);
  return texts.flatMap((text) => answer.safeParse(parseJson(text)).data ?? []);
}

async function missingHere({ proofs, inputs }: Question): Promise<{ path: string; why: string }[]> {
  const missing: { path: string; why: string }[] = [];
  const look = async (path: string, isThere: () => Promise<boolean>): Promise<void> => {
    try {
      if (!(await isThere())) missing.push({ path, why: 'another folder is there under this path' });
    } catch (error) {
      const why = errnoOf(error) === 'ENOENT' ? 'it is not there, or is another folder' : reasonOf(error);
      missing.push({ path, why });
    }
  };
  for (const { path, text } of proofs) await look(path, async () => (await readFile(path, 'utf8')) === text);
  for (const path of inputs) await look(path, async () => (await stat(path)).size >= 0);
  return missing;
}
