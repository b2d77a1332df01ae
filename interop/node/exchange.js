// MQTT.js against a broker: node exchange.js PORT VERSION. Prints one line per finding; the Python
// test reads them.
const mqtt = require("mqtt");

const [port, version] = process.argv.slice(2).map(Number);
const url = `mqtt://127.0.0.1:${port}`;
const options = { protocolVersion: version, reconnectPeriod: 0, connectTimeout: 5000 };

function connect(extra) {
  return mqtt.connectAsync(url, { ...options, ...extra });
}

function nextMessage(client) {
  return new Promise((resolve) =>
    client.once("message", (topic, payload, packet) => resolve({ topic, text: payload.toString(), packet })),
  );
}

async function everyQos() {
  const client = await connect({ clientId: `js-qos-${version}` });
  for (const qos of [0, 1, 2]) {
    await client.subscribeAsync(`js/${version}/${qos}`, { qos });
    const arrived = nextMessage(client);
    await client.publishAsync(`js/${version}/${qos}`, `qos ${qos}`, { qos });
    const { text, packet } = await arrived;
    console.log(`qos ${qos}: ${text === `qos ${qos}` && packet.qos === qos}`);
  }
  await client.endAsync();
}

async function retained() {
  const client = await connect({ clientId: `js-retained-${version}` });
  await client.publishAsync(`js/${version}/retained`, "kept", { qos: 1, retain: true });
  const arrived = nextMessage(client);
  await client.subscribeAsync(`js/${version}/retained`, { qos: 1 });
  const { packet } = await arrived;
  console.log(`retained: ${packet.retain}`);
  await client.publishAsync(`js/${version}/retained`, "", { qos: 1, retain: true });
  await client.endAsync();
}

async function will() {
  const watcher = await connect({ clientId: `js-watcher-${version}` });
  await watcher.subscribeAsync(`js/${version}/will`, { qos: 1 });
  const dying = await connect({
    clientId: `js-dying-${version}`,
    will: { topic: `js/${version}/will`, payload: Buffer.from("gone"), qos: 1, retain: false },
  });
  dying.on("error", () => {});
  const arrived = nextMessage(watcher);
  dying.stream.destroy();
  console.log(`will: ${(await arrived).text === "gone"}`);
  await watcher.endAsync();
}

async function aliases() {
  if (version !== 5) return;
  const client = await connect({
    clientId: "js-aliases",
    properties: { topicAliasMaximum: 5 },
    autoUseTopicAlias: true,
    autoAssignTopicAlias: true,
  });
  await client.subscribeAsync("js/alias/+", { qos: 1 });
  const topics = [];
  client.on("message", (topic) => topics.push(topic));
  for (let round = 0; round < 3; round += 1) {
    await client.publishAsync("js/alias/a", "x", { qos: 1 });
    await client.publishAsync("js/alias/b", "x", { qos: 1 });
  }
  await new Promise((resolve) => setTimeout(resolve, 200));
  console.log(`aliases: ${topics.join() === Array(3).fill("js/alias/a,js/alias/b").join()}`);
  await client.endAsync();
}

async function takeOver() {
  const first = await connect({ clientId: `js-same-${version}` });
  first.on("error", () => {});
  const reasons = [];
  first.on("disconnect", (packet) => reasons.push(packet.reasonCode));
  const closed = new Promise((resolve) => first.once("close", resolve));
  const second = await connect({ clientId: `js-same-${version}` });
  await closed;
  console.log(`take-over: ${version === 5 ? reasons.join() === "142" : true}`);
  await second.endAsync();
}

async function properties() {
  if (version !== 5) return;
  const client = await connect({ clientId: "js-properties" });
  await client.subscribeAsync("js/properties", { qos: 1, properties: { subscriptionIdentifier: 7 } });
  const arrived = nextMessage(client);
  const sent = {
    contentType: "text/plain",
    responseTopic: "js/answer",
    correlationData: Buffer.from([1, 2]),
    userProperties: { a: ["1", "2"], b: "3" },
    payloadFormatIndicator: true,
    messageExpiryInterval: 100,
  };
  await client.publishAsync("js/properties", "x", { qos: 1, properties: sent });
  const got = (await arrived).packet.properties;
  const same =
    got.contentType === "text/plain" &&
    got.responseTopic === "js/answer" &&
    got.correlationData.equals(sent.correlationData) &&
    JSON.stringify(got.userProperties) === JSON.stringify(sent.userProperties) &&
    got.payloadFormatIndicator === true &&
    got.messageExpiryInterval <= 100 &&
    got.subscriptionIdentifier === 7;
  console.log(`properties: ${same}`);
  await client.endAsync();
}

(async () => {
  for (const part of [everyQos, retained, will, aliases, takeOver, properties]) await part();
  process.exit(0);
})().catch((error) => {
  console.log(`error: ${error.message}`);
  process.exit(1);
});
