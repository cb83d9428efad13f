/** What a thread did, as a tree: each function below the one that called it, with the processor time of itself and all below. */
import { isOwn, rootOf, sourceOf, timesOf, type CallFrame, type Profile, type Span } from './profile.ts';
import { programParts } from './program-parts.ts';

/** What a function is of: a part of the program, or what the program runs on. */
export type Part = keyof typeof programParts | 'rpc' | 'node' | 'collector' | 'other';

export interface FlameFrame {
  /** Function and source: `append coordinator/journal/group-queue.ts`. */
  readonly name: string;
  readonly part: Part;
  /** Microseconds, those of the children with them. */
  readonly us: number;
  /** In order of name. */
  readonly children: readonly FlameFrame[];
}

interface Growing {
  readonly name: string;
  readonly part: Part;
  us: number;
  readonly children: Map<string, Growing>;
}

/**
 * Looks are half of this apart. Where more lies between two of them, others had the processor: what was on its way when it came
 * back would have all their time.
 */
const mostUs = 500;

/** Packages, parts of Node and files of the program that carry messages between processes. */
const rpcSources = [
  '@grpc/',
  'protobufjs',
  '@protobufjs/',
  'node:http2',
  'node:internal/http2/',
  'common/rpc/',
  'coordinator/service/',
  'worker/bulk-link.ts',
  'worker/control-link.ts',
  'worker/upload-lane.ts',
];

/**
 * The time in all spans together, without that in which nothing ran. Functions of one name in one file, called from the same place, are
 * one frame. `files`: of the lines of the program's bundle, as {@link sourceOf} takes them.
 */
export function flameTree(profile: Profile, files: readonly string[], spans: readonly Span[]): FlameFrame {
  const times = timesOf(profile, spans, mostUs);
  const nodes = new Map(profile.nodes.map((node) => [node.id, node]));
  const all: Growing = { name: 'all', part: 'node', us: 0, children: new Map() };
  const add = (id: number, into: Growing): number => {
    const node = nodes.get(id);
    if (node === undefined || node.callFrame.functionName === '(idle)') return 0;
    const frame = childOf(into, node.callFrame, files);
    const own = times.reduce((sum, span) => sum + (span.get(id) ?? 0), 0);
    const us = (node.children ?? []).reduce((sum, child) => sum + add(child, frame), own);
    frame.us += us;
    return us;
  };
  for (const id of rootOf(profile)?.children ?? []) all.us += add(id, all);
  return ordered(all);
}

function childOf(parent: Growing, callFrame: CallFrame, files: readonly string[]): Growing {
  const source = sourceOf(callFrame, files);
  const name = `${callFrame.functionName || '(anonymous)'} ${source}`;
  const known = parent.children.get(name);
  if (known !== undefined) return known;
  const frame = { name, part: partOf(callFrame.functionName, source), us: 0, children: new Map<string, Growing>() };
  parent.children.set(name, frame);
  return frame;
}

function partOf(functionName: string, source: string): Part {
  if (functionName === '(garbage collector)') return 'collector';
  if (rpcSources.some((path) => source.startsWith(path)) || isCodec(functionName, source)) return 'rpc';
  if (isOwn(source)) return ownPartOf(source);
  return source.startsWith('node:') || source === '(native)' ? 'node' : 'other';
}

/** protobufjs makes a function for each kind of message as it goes. */
function isCodec(functionName: string, source: string): boolean {
  return source === '(generated)' && /\$(decode|encode)$/.test(functionName);
}

function ownPartOf(file: string): Part {
  const names = Object.keys(programParts) as (keyof typeof programParts)[];
  return names.find((name) => programParts[name].some((path) => file.startsWith(path))) ?? 'other';
}

/** Frames in which no time was spent are left out. */
function ordered({ children, ...frame }: Growing): FlameFrame {
  const kept = [...children.values()].filter(({ us }) => us > 0);
  return { ...frame, children: kept.sort((a, b) => (a.name < b.name ? -1 : 1)).map(ordered) };
}
