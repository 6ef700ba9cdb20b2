/** As much Markdown as the documents of this repository use: what a file holds, where its links go, and how a section looks in a browser. */

/** A fenced block begins or ends with such a line. */
const FENCE = /^\s*(`{3,}|~{3,})/;
const HEADING = /^(#{1,6})\s+(.+?)\s*#*$/;
const LINK = /\[(?<text>[^\]]+)\]\((?<target>[^()\s]+)\)/g;
const WORD = /[\p{L}\p{N}][\p{L}\p{N}'’_-]*/gu;

export interface Counts {
  readonly words: number;
  readonly headings: number;
  readonly codeBlocks: number;
  readonly links: number;
}

export interface Link {
  /** From 1. */
  readonly line: number;
  readonly target: string;
}

export interface Section {
  readonly title: string;
  readonly markdown: string;
}

interface Line {
  readonly text: string;
  /** Inside a fenced block, its fences included. */
  readonly isCode: boolean;
}

function linesOf(markdown: string): readonly Line[] {
  let fence: string | undefined;
  return markdown.split("\n").map((text) => {
    const mark = FENCE.exec(text)?.[1];
    if (fence === undefined) {
      fence = mark;
      return { text, isCode: mark !== undefined };
    }
    if (mark?.startsWith(fence) === true) fence = undefined;
    return { text, isCode: true };
  });
}

/** Words are counted outside of code. */
export function countMarkdown(markdown: string): Counts {
  const lines = linesOf(markdown);
  const prose = lines.filter(({ isCode }) => !isCode).map(({ text }) => text);
  const fences = lines.filter(({ text, isCode }, index) => isCode && lines[index - 1]?.isCode !== true && text !== "");
  return {
    words: prose.reduce((sum, text) => sum + (text.match(WORD)?.length ?? 0), 0),
    headings: prose.filter((text) => HEADING.test(text)).length,
    codeBlocks: fences.length,
    links: linksOf(markdown).length,
  };
}

/** Links in order, those in code left out. */
export function linksOf(markdown: string): readonly Link[] {
  return linesOf(markdown).flatMap(({ text, isCode }, index) =>
    isCode
      ? []
      : [...text.replaceAll(/`[^`]*`/g, "").matchAll(LINK)].map((match) => ({
          line: index + 1,
          target: match.groups?.target ?? "",
        })),
  );
}

/** The fragments that links to this file may name, as GitHub makes them of its headings. */
export function anchorsOf(markdown: string): ReadonlySet<string> {
  const anchors = new Set<string>();
  for (const { text, isCode } of linesOf(markdown)) {
    const title = isCode ? undefined : HEADING.exec(text)?.[2];
    if (title === undefined) continue;
    const slug = title
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, "")
      .replaceAll(/\s/g, "-");
    let unique = slug;
    for (let count = 1; anchors.has(unique); count += 1) unique = `${slug}-${count}`;
    anchors.add(unique);
  }
  return anchors;
}

/** The file cut at its headings; what stands before the first one has no title. */
export function sectionsOf(markdown: string): readonly Section[] {
  const sections: { title: string; lines: string[] }[] = [];
  for (const { text, isCode } of linesOf(markdown)) {
    const title = isCode ? undefined : HEADING.exec(text)?.[2];
    const last = sections.at(-1);
    if (title !== undefined || last === undefined) sections.push({ title: title ?? "", lines: [text] });
    else last.lines.push(text);
  }
  return sections
    .map(({ title, lines }) => ({ title, markdown: lines.join("\n").trim() }))
    .filter(({ markdown: text }) => text !== "");
}

/** A page of its own: headings, lists, tables, code and paragraphs. */
export function renderPage({ title, markdown }: Section): string {
  const body: string[] = [];
  let code: string[] | undefined;
  for (const { text, isCode } of linesOf(markdown)) {
    if (isCode) {
      code ??= [];
      if (!FENCE.test(text)) code.push(escapeHtml(text));
      continue;
    }
    if (code !== undefined) body.push(`<pre><code>${code.join("\n")}</code></pre>`);
    code = undefined;
    if (text.trim() !== "") body.push(renderLine(text));
  }
  if (code !== undefined) body.push(`<pre><code>${code.join("\n")}</code></pre>`);
  return `<!doctype html>\n<meta charset="utf-8">\n<title>${escapeHtml(title)}</title>\n${body.join("\n")}\n`;
}

function renderLine(text: string): string {
  const heading = HEADING.exec(text);
  if (heading !== null) {
    const level = heading[1]?.length ?? 1;
    return `<h${level}>${renderInline(heading[2] ?? "")}</h${level}>`;
  }
  if (/^\s*[-*]\s/.test(text)) return `<li>${renderInline(text.replace(/^\s*[-*]\s+/, ""))}</li>`;
  if (/^\s*\|/.test(text)) {
    const cells = text
      .trim()
      .replaceAll(/^\||\|$/g, "")
      .split("|");
    return `<tr>${cells.map((cell) => `<td>${renderInline(cell.trim())}</td>`).join("")}</tr>`;
  }
  return `<p>${renderInline(text)}</p>`;
}

function renderInline(text: string): string {
  return escapeHtml(text)
    .replaceAll(/`([^`]+)`/g, "<code>$1</code>")
    .replaceAll(/\*\*([^*]+)\*\*/g, "<strong>$1</strong>")
    .replaceAll(LINK, '<a href="$2">$1</a>');
}

function escapeHtml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");
}
