// Explicit-state model of the MongoDB slot and head protocol (docs/architecture.md, section 7). Every step is one read or write of one document; any process may stop for ever at any step.
// Invariants: executing <= limit at every state; from every quiescent state, settle + claim + finish completes every inserted run.
const R = +process.env.RUNS || 2,
  LIMIT = +process.env.LIMIT || 1,
  CLAIMS = +process.env.CLAIMS || 3,
  SETTLES = +process.env.SETTLES || 2;
const BUG = process.env.BUG || "";
const init = {
  run: Array.from({ length: R }, () => ({ st: "N", g: 0, th: 0, tf: 0 })),
  slots: { v: 0, h: [], op: 0 },
  head: { x: 0, v: 0, o: 0 },
  procs: [],
  claims: CLAIMS,
  settles: SETTLES,
  ins: Array(R).fill(0),
  rel: 1,
};
if (process.env.START === "ready") {
  init.run.forEach((r) => (r.st = "W"));
  init.head = { x: 1, v: 1, o: 1 };
  init.ins.fill(1);
  init.rel = +process.env.REL || 0;
}
const PROCS = +process.env.PROCS || 3;
const clone = (s) => JSON.parse(JSON.stringify(s));
const full = (s) => s.slots.h.length >= LIMIT;
// one step of process p (index k) in state s; returns array of next states (process advanced or removed)
function step(s, k) {
  const out = [];
  const n = () => clone(s);
  const p = s.procs[k];
  const adv = (t, ch) => {
    Object.assign(t.procs[k], ch);
    out.push(t);
  };
  const end = (t) => {
    t.procs.splice(k, 1);
    out.push(t);
  };
  if (p.t === "ins") {
    const i = p.i;
    if (p.pc === 0) {
      const t = n();
      t.run[i].st = "W";
      t.run[i].th = 1;
      adv(t, { pc: 1 });
    } else if (p.pc === 1) {
      const t = n();
      t.head.x = 1;
      t.head.v++;
      t.head.o = BUG === "closed" ? t.head.o : 1;
      adv(t, { pc: 2 });
    } else {
      const t = n();
      if (t.run[i].g === 0) t.run[i].th = 0;
      end(t);
    }
  } else if (p.t === "claim") {
    if (p.pc === 0) {
      const t = n();
      if (!t.head.x || !t.head.o) {
        end(t);
        return out;
      }
      adv(t, { pc: 1, hv: t.head.v });
    } else if (p.pc === 1) {
      // reads the partition
      const w = s.run.map((r, i) => (r.st === "W" ? i : -1)).filter((i) => i >= 0);
      if (!w.length) {
        const t = n();
        adv(t, { pc: 9 });
      } else
        for (const i of w) {
          const t = n();
          adv(t, { pc: 2, r: i, rg: s.run[i].g });
        }
    } else if (p.pc === 9) {
      const t = n();
      if (t.head.x && t.head.v === p.hv) t.head = { x: 0, v: t.head.v, o: 0 };
      end(t);
    } else if (p.pc === 2) {
      // reads slots
      if (full(s)) {
        const t = n();
        adv(t, { pc: 8, sv: s.slots.v });
      } else if (s.slots.h.some((h) => h.r === p.r && h.g === p.rg + 1) && BUG !== "twin") {
        const t = n();
        end(t);
      } else {
        const t = n();
        adv(t, { pc: 3, sv: s.slots.v });
      }
    } else if (p.pc === 8) {
      const t = n();
      if (t.head.x && (BUG === "stalefull" || t.head.v === p.hv)) t.head.o = 0;
      end(t);
    } else if (p.pc === 3) {
      const t = n();
      if (t.slots.v !== p.sv) {
        end(t);
        return out;
      }
      t.slots.v++;
      t.slots.h.push({ r: p.r, g: p.rg + 1, k: p.id, pend: 1 });
      adv(t, { pc: 4, f: full(t) });
    } else if (p.pc === 4) {
      const t = n();
      const r = t.run[p.r];
      if (r.st === "W" && r.g === p.rg) {
        r.st = "E";
        r.g = p.rg + 1;
        adv(t, { pc: 5 });
      } else adv(t, { pc: 6 });
    } else if (p.pc === 5) {
      const t = n();
      const h = t.slots.h.find((o) => o.r === p.r && o.g === p.rg + 1 && o.k === p.id);
      if (h) h.pend = 0;
      if (p.f) adv(t, { pc: 8 });
      else end(t);
    } else if (p.pc === 6) {
      const t = n();
      const b = t.slots.h.length;
      t.slots.h = t.slots.h.filter((h) => !(h.r === p.r && h.g === p.rg + 1 && h.k === p.id));
      if (t.slots.h.length < b) {
        t.slots.v++;
        t.slots.op = 1;
      }
      adv(t, { pc: 7, nv: t.slots.v });
    } else if (p.pc === 7) {
      const t = n();
      if (t.head.x) {
        t.head.o = 1;
        t.head.v++;
      }
      adv(t, { pc: 11 });
    } else if (p.pc === 11) {
      const t = n();
      if (t.slots.v === p.nv) t.slots.op = 0;
      end(t);
    }
  } else if (p.t === "fin") {
    // final, or release back to waiting
    if (p.pc === 0) {
      const t = n();
      const r = t.run[p.i];
      if (r.st !== "E") {
        end(t);
        return out;
      }
      {
        const a = n();
        const q = a.run[p.i];
        q.st = "F";
        q.tf = 1;
        a.procs[k].pc = 1;
        a.procs[k].g = q.g;
        out.push(a);
      }
      if (s.rel > 0) {
        const a = n();
        const q = a.run[p.i];
        q.st = "W";
        q.tf = 1;
        q.th = 1;
        a.rel--;
        a.procs[k].pc = 1;
        a.procs[k].g = q.g;
        out.push(a);
      }
    } else if (p.pc === 1) {
      const t = n();
      const b = t.slots.h.length;
      t.slots.h = t.slots.h.filter((h) => !(h.r === p.i && h.g === p.g));
      if (t.slots.h.length < b) {
        t.slots.v++;
        t.slots.op = 1;
      }
      adv(t, { pc: 2, nv: t.slots.v });
    } else if (p.pc === 2) {
      const t = n();
      const r = t.run[p.i];
      if (r.th && BUG !== "nohead") {
        t.head.x = 1;
        t.head.v++;
        t.head.o = 1;
      } else if (t.head.x) {
        t.head.o = 1;
        t.head.v++;
      }
      adv(t, { pc: 3 });
    } else if (p.pc === 3) {
      const t = n();
      const r = t.run[p.i];
      if (r.g === p.g) {
        r.tf = 0;
        r.th = 0;
      }
      adv(t, { pc: 4 });
    } else {
      const t = n();
      if (t.slots.v === p.nv) t.slots.op = 0;
      end(t);
    }
  } else if (p.t === "settle") {
    if (p.pc === 0) {
      // choose a piece of work
      let any = false;
      s.run.forEach((r, i) => {
        if (r.th && !r.tf) {
          any = true;
          const t = n();
          adv(t, { pc: 1, i, g: r.g });
        }
        if (r.tf) {
          any = true;
          const t = n();
          adv(t, { pc: 3, i, g: r.g });
        }
      });
      if (s.slots.op) {
        any = true;
        const t = n();
        adv(t, { pc: 8, nv: s.slots.v });
      }
      s.slots.h.forEach((h) => {
        if (h.pend) {
          any = true;
          const t = n();
          adv(t, { pc: 6, i: h.r, hg: h.g, hk: h.k });
        }
      });
      if (!any) {
        const t = n();
        end(t);
      }
    } else if (p.pc === 1) {
      const t = n();
      t.head.x = 1;
      t.head.v++;
      t.head.o = 1;
      adv(t, { pc: 2 });
    } else if (p.pc === 2) {
      const t = n();
      if (t.run[p.i].g === p.g && !t.run[p.i].tf) t.run[p.i].th = 0;
      end(t);
    } else if (p.pc === 3) {
      const t = n();
      const b = t.slots.h.length;
      t.slots.h = t.slots.h.filter((h) => !(h.r === p.i && h.g === p.g));
      if (t.slots.h.length < b) {
        t.slots.v++;
        t.slots.op = 1;
      }
      adv(t, { pc: 4, nv: t.slots.v });
    } else if (p.pc === 4) {
      const t = n();
      const r = t.run[p.i];
      if (r.th) {
        t.head.x = 1;
        t.head.v++;
        t.head.o = 1;
      } else if (t.head.x) {
        t.head.o = 1;
        t.head.v++;
      }
      adv(t, { pc: 5 });
    } else if (p.pc === 5) {
      const t = n();
      const r = t.run[p.i];
      if (r.g === p.g) {
        r.tf = 0;
        r.th = 0;
      }
      end(t);
    } else if (p.pc === 6) {
      // fence
      const t = n();
      const r = t.run[p.i];
      if (r.g === p.hg - 1) {
        if (BUG !== "nofence") {
          r.g = p.hg;
        }
        adv(t, { pc: 7 });
      } else if (r.g === p.hg && r.st === "E") {
        adv(t, { pc: 10 });
      } else adv(t, { pc: 7 });
    } else if (p.pc === 10) {
      const t = n();
      const h = t.slots.h.find((o) => o.r === p.i && o.g === p.hg && o.k === p.hk);
      if (h) h.pend = 0;
      end(t);
    } else if (p.pc === 7) {
      const t = n();
      const b = t.slots.h.length;
      t.slots.h = t.slots.h.filter((h) => !(h.r === p.i && h.g === p.hg && h.k === p.hk));
      if (t.slots.h.length < b) {
        t.slots.v++;
        t.slots.op = 1;
      }
      adv(t, { pc: 8, nv: t.slots.v });
    } else if (p.pc === 8) {
      const t = n();
      if (t.head.x) {
        t.head.o = 1;
        t.head.v++;
      }
      adv(t, { pc: 12 });
    } else if (p.pc === 12) {
      const t = n();
      if (t.slots.v === p.nv) t.slots.op = 0;
      end(t);
    }
  }
  return out;
}
function spawn(s) {
  const out = [];
  s.ins.forEach((d, i) => {
    if (!d) {
      const t = clone(s);
      t.ins[i] = 1;
      t.procs.push({ t: "ins", i, pc: 0 });
      out.push(t);
    }
  });
  if (s.claims > 0 && s.procs.length < PROCS) {
    const t = clone(s);
    t.claims--;
    t.procs.push({ t: "claim", pc: 0, id: s.claims });
    out.push(t);
  }
  if (s.settles > 0 && s.procs.length < PROCS && !s.procs.some((p) => p.t === "settle")) {
    const t = clone(s);
    t.settles--;
    t.procs.push({ t: "settle", pc: 0 });
    out.push(t);
  }
  s.run.forEach((r, i) => {
    if (r.st === "E" && !s.procs.some((p) => p.t === "fin" && p.i === i) && s.procs.length < PROCS) {
      const t = clone(s);
      t.procs.push({ t: "fin", i, pc: 0 });
      out.push(t);
    }
  });
  return out;
}
const norm = (s) => {
  // small canonical form: versions relative
  return JSON.stringify(s);
};
const exec = (s) => s.run.filter((r) => r.st === "E").length;
// liveness: run everything sequentially from a quiescent state
function drains(s0) {
  let s = clone(s0);
  s.rel = 0;
  const runProc = (p) => {
    s.procs = [p];
    let guard = 0;
    while (s.procs.length && guard++ < 50) s = step(s, 0)[0];
  };
  for (let round = 0; round < 12; round++) {
    for (let i = 0; i < 8; i++) runProc({ t: "settle", pc: 0 });
    for (let i = 0; i < 3; i++) runProc({ t: "claim", pc: 0, id: 100 + round * 3 + i });
    s.run.forEach((r, i) => {
      if (r.st === "E") runProc({ t: "fin", i, pc: 0 });
    });
  }
  return s.run.every((r) => r.st === "N" || r.st === "F") && s.slots.h.length === 0;
}
const seen = new Set([norm(init)]);
const stack = [init];
const parent = new Map();
let n = 0,
  quiet = 0,
  bad = null;
const MAX = +process.env.MAX || 3e6;
let qi = 0;
const DFS = process.env.DFS;
while ((DFS ? stack.length : qi < stack.length) && !bad && n < MAX) {
  let s;
  if (DFS) s = stack.pop();
  else {
    s = stack[qi];
    stack[qi] = null;
    qi++;
  }
  n++;
  if (exec(s) > LIMIT) {
    bad = ["over the limit", s];
    break;
  }
  if (!s.procs.length) {
    quiet++;
    if (!drains(s)) {
      bad = ["a run never starts or a slot stays taken", s];
      break;
    }
  }
  const next = spawn(s);
  for (let k = 0; k < s.procs.length; k++) {
    next.push(...step(s, k));
    const c = clone(s);
    c.procs.splice(k, 1);
    next.push(c);
  } // step or crash
  for (const t of next) {
    const key = norm(t);
    if (!seen.has(key)) {
      seen.add(key);
      stack.push(t);
      if (process.env.TRACE) parent.set(key, norm(s));
    }
  }
}
console.log(
  bad
    ? `FOUND: ${JSON.stringify(bad)}`
    : `ok: ${n} states${(DFS ? stack.length : qi < stack.length) ? " (bounded, not exhausted)" : " (exhausted)"}, ${quiet} quiescent`,
  `runs ${R} limit ${LIMIT} claims ${CLAIMS} settles ${SETTLES} ${BUG}`,
);
if (bad && process.env.TRACE) {
  let k = norm(bad[1]);
  const tr = [];
  while (k) {
    tr.push(k);
    k = parent.get(k);
  }
  console.log(tr.toReversed().join("\n"));
}
process.exit(bad ? 1 : 0);
