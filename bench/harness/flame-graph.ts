/** A tree of functions as a picture: as wide as their processor time, callers below what they called. */
import type { FlameFrame, Part } from './flame-tree.ts';
import { escaped } from './svg-text.ts';

const legend: Readonly<Record<Part, { readonly colour: string; readonly means: string }>> = {
  journal: { colour: '#e8825a', means: 'journal' },
  output: { colour: '#edb458', means: 'output' },
  listing: { colour: '#a8c66c', means: 'listing' },
  rpc: { colour: '#7fb2d9', means: 'messages: gRPC, HTTP/2, protobuf' },
  node: { colour: '#cfd3d7', means: 'Node, native code' },
  collector: { colour: '#c79ac9', means: 'garbage collector' },
  other: { colour: '#86c5b4', means: 'other files of the program, packages' },
};

const [width, margin, rowHeight, headHeight] = [1_200, 10, 17, 66] as const;
const [fontSize, characterWidth, textInset] = [11, 6.7, 3] as const;
/** Of letters of the legend, which are not all of one width. */
const legendCharacterWidth = 6.5;
const fewestCharacters = 3;
const leastShare = 0.002;
const mostBytes = 200_000;

export interface FlameHead {
  readonly workload: string;
  readonly role: string;
  readonly jobs: number;
}

interface Placed {
  readonly frame: FlameFrame;
  readonly left: number;
  readonly width: number;
  readonly depth: number;
}

/** An SVG without scripts, below 200 KB: narrower frames are left out where it would be larger. */
export function flameGraph(tree: FlameFrame, head: FlameHead): string {
  for (let share = leastShare; ; share *= 1.25) {
    const svg = draw(tree, head, share);
    if (Buffer.byteLength(svg) < mostBytes) return svg;
  }
}

function draw(tree: FlameFrame, { workload, role, jobs }: FlameHead, share: number): string {
  const all = width - 2 * margin;
  const frames = placed(tree, { left: margin, perUs: all / Math.max(1, tree.us), least: all * share, depth: 0 });
  const rows = 1 + Math.max(...frames.map(({ depth }) => depth));
  const height = headHeight + rows * rowHeight + margin;
  const title = `${workload}, ${role}: ${msOf(tree.us)} of its main thread in ${jobs} warm jobs`;
  const hint = `Width: processor time, idling left out. Frames tell theirs when pointed at; those below ${(100 * share).toFixed(1)} % are left out.`;
  const colours = Object.entries(legend).map(([part, { colour }]) => `.${part}{fill:${colour}}`);
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="monospace" font-size="${fontSize}">`,
    `<style>${colours.join('')}g rect{stroke:#fff;stroke-width:.5}</style>`,
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    `<text x="${margin}" y="18" font-family="sans-serif" font-size="14" font-weight="bold">${escaped(title)}</text>`,
    `<text x="${margin}" y="35" font-family="sans-serif">${hint}</text>`,
    ...drawnLegend(),
    ...frames.map((one) => drawnFrame(one, tree.us, height - margin - (one.depth + 1) * rowHeight)),
    '</svg>\n',
  ].join('\n');
}

/** The frame and those above it that are wide enough, side by side. */
function placed(
  frame: FlameFrame,
  at: { readonly left: number; readonly perUs: number; readonly least: number; readonly depth: number },
): readonly Placed[] {
  const own: Placed = { frame, left: at.left, width: frame.us * at.perUs, depth: at.depth };
  let left = at.left;
  const above = frame.children.flatMap((child) => {
    const from = left;
    left += child.us * at.perUs;
    return left - from < at.least ? [] : placed(child, { ...at, left: from, depth: at.depth + 1 });
  });
  return [own, ...above];
}

function drawnFrame({ frame, left, width: wide }: Placed, allUs: number, top: number): string {
  const title = `${frame.name}: ${msOf(frame.us)}, ${((100 * frame.us) / Math.max(1, allUs)).toFixed(1)} %`;
  const text = fitted(frame.name, Math.floor((wide - 2 * textInset) / characterWidth));
  const x = left.toFixed(1);
  return [
    `<g><title>${escaped(title)}</title>`,
    `<rect class="${frame.part}" x="${x}" y="${top}" width="${wide.toFixed(1)}" height="${rowHeight}"/>`,
    text === '' ? '' : `<text x="${(left + textInset).toFixed(1)}" y="${top + 12}">${escaped(text)}</text>`,
    '</g>',
  ].join('');
}

function drawnLegend(): readonly string[] {
  let left: number = margin;
  return Object.entries(legend).map(([part, { means }]) => {
    const x = left;
    left += 14 + means.length * legendCharacterWidth + 16;
    const label = `<text x="${(x + 14).toFixed(1)}" y="54" font-family="sans-serif">${means}</text>`;
    return `<rect class="${part}" x="${x.toFixed(1)}" y="44" width="10" height="12"/>${label}`;
  });
}

/** As much of the text as so many characters hold; nothing where that says nothing. */
function fitted(text: string, characters: number): string {
  if (text.length <= characters) return text;
  return characters < fewestCharacters ? '' : `${text.slice(0, characters - 1)}…`;
}

function msOf(us: number): string {
  const ms = us / 1_000;
  return `${ms < 100 ? ms.toFixed(1) : Math.round(ms).toLocaleString('en')} ms`;
}
