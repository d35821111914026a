// A program with @sentry/node: DSN as argument, prints what it sent.
import http from "node:http";
import * as Sentry from "@sentry/node";

const sent = [];
const client = Sentry.init({
  dsn: process.argv[2],
  release: "worker@2.0.0",
  environment: "test",
  tracesSampleRate: 1.0,
  enableLogs: true,
});
client.on("beforeEnvelope", ([headers, items]) => {
  for (const [head] of items) sent.push([head.type, headers.event_id ?? ""]);
});

function charge(order) {
  throw new TypeError(`cannot charge ${order}`);
}

Sentry.setUser({ id: "n-1", email: "ada@example.com" });
Sentry.setTag("tenant", "acme");
Sentry.addBreadcrumb({ category: "cart", message: "added tea" });

try {
  charge("o-1");
} catch (error) {
  Sentry.captureException(error, { extra: { order: "o-1" } });
}
try {
  try {
    charge("o-2");
  } catch (cause) {
    throw new Error("order failed", { cause });
  }
} catch (error) {
  Sentry.captureException(error);
}
Sentry.captureMessage("zażółć gęślą 🐍\nsecond line", "warning");
Sentry.withScope((scope) => {
  scope.addAttachment({ filename: "cart.json", data: '{"tea":1}', contentType: "application/json" });
  Sentry.captureMessage("with a file");
});
Sentry.captureFeedback({ name: "Ada", email: "ada@example.com", message: "tea is cold" });

await Sentry.startSpan({ name: "restock", op: "task" }, () =>
  Sentry.startSpan({ name: "SELECT stock", op: "db" }, async () => {}),
);
Sentry.withMonitor("sweep", () => "done", { schedule: { type: "interval", value: 1, unit: "hour" } });
Sentry.logger.error("stock is low", { item: "tea", left: 2 });
Sentry.metrics.count("charged", 2);
Sentry.startSession();
Sentry.endSession();

// Many errors in flight at once, as a busy server has them.
await Promise.all(
  Array.from({ length: 20 }, async (_, number) => {
    await null;
    Sentry.captureException(new RangeError(`row ${number} is out of range`));
  }),
);

const server = http.createServer((request, response) => response.end("ok"));
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
await fetch(`http://127.0.0.1:${server.address().port}/orders?page=2`).then((answer) => answer.text());
server.close();

await Sentry.close(20000);
console.log(JSON.stringify({ sent }));
