// A server on Netty (Debian's libnetty-java) that forgets to release what it has read, and says what it knows of its memory:
//   java -cp … NettyLeak.java MESSAGE-PORT HTTP-PORT
// Each message on the first port is answered by a byte; its buffer stays, if the message begins with `!`. On the second are
//   /jolokia/             the JVM's management beans by Jolokia itself (Debian's libjolokia-core-java)
//   /actuator/prometheus  the same by the names that Micrometer gives them: imitated, as no Micrometer is packaged
//   /netty                Netty's own counter with its limit, and what was served, as JSON: what a team writes who wants to see it
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import io.netty.bootstrap.ServerBootstrap;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.PooledByteBufAllocator;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.channel.ChannelInitializer;
import io.netty.channel.nio.NioEventLoopGroup;
import io.netty.channel.socket.SocketChannel;
import io.netty.channel.socket.nio.NioServerSocketChannel;
import io.netty.util.internal.PlatformDependent;
import java.io.IOException;
import java.lang.management.BufferPoolMXBean;
import java.lang.management.ManagementFactory;
import java.lang.management.MemoryPoolMXBean;
import java.lang.management.MemoryType;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.atomic.AtomicLong;
import org.jolokia.backend.BackendManager;
import org.jolokia.config.ConfigKey;
import org.jolokia.config.Configuration;
import org.jolokia.http.HttpRequestHandler;
import org.jolokia.util.LogHandler;

public class NettyLeak {
    static final AtomicLong CONNECTIONS = new AtomicLong();
    static final AtomicLong MESSAGES = new AtomicLong();

    public static void main(String[] arguments) throws Exception {
        NioEventLoopGroup loop = new NioEventLoopGroup(1);
        ServerBootstrap messages = new ServerBootstrap().group(loop).channel(NioServerSocketChannel.class);
        messages.childHandler(new ChannelInitializer<SocketChannel>() {
            @Override
            protected void initChannel(SocketChannel channel) {
                channel.pipeline().addLast(new Forgetful());
            }
        });
        messages.bind("127.0.0.1", Integer.parseInt(arguments[0])).sync();

        HttpRequestHandler beans = jolokia();
        HttpServer http = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[1])), 0);
        http.createContext("/jolokia/", exchange -> {
            var answer = beans.handlePostRequest(exchange.getRequestURI().toString(), exchange.getRequestBody(), "UTF-8", Map.of());
            say(exchange, "application/json", answer.toJSONString());
        });
        http.createContext("/actuator/prometheus", exchange -> say(exchange, "text/plain", actuator()));
        http.createContext("/netty", exchange -> say(exchange, "application/json", String.format(
            "{\"used\": %d, \"limit\": %d, \"connections\": %d, \"messages\": %d}",
            PlatformDependent.usedDirectMemory(), PlatformDependent.maxDirectMemory(), CONNECTIONS.get(), MESSAGES.get())));
        http.start();
        System.out.println("ready");
    }

    /** What it is about: a buffer that is read and, on one path, released by nobody. */
    static class Forgetful extends ChannelInboundHandlerAdapter {
        @Override
        public void channelActive(ChannelHandlerContext context) {
            CONNECTIONS.incrementAndGet();
        }

        @Override
        public void channelInactive(ChannelHandlerContext context) {
            CONNECTIONS.decrementAndGet();
        }

        @Override
        public void channelRead(ChannelHandlerContext context, Object message) {
            ByteBuf buffer = (ByteBuf) message;
            MESSAGES.incrementAndGet();
            boolean forgotten = buffer.getByte(buffer.readerIndex()) == '!';
            context.writeAndFlush(context.alloc().buffer(1).writeByte('.'));
            if (!forgotten) {
                buffer.release();
            }
        }
    }

    static HttpRequestHandler jolokia() {
        LogHandler silent = new LogHandler() {
            public void debug(String message) {}

            public void info(String message) {}

            public void error(String message, Throwable problem) {}
        };
        Configuration configuration = new Configuration(ConfigKey.AGENT_ID, "interop");
        return new HttpRequestHandler(configuration, new BackendManager(configuration, silent), silent);
    }

    static String actuator() {
        StringBuilder text = new StringBuilder("# TYPE jvm_memory_used_bytes gauge\n");
        for (MemoryPoolMXBean pool : ManagementFactory.getMemoryPoolMXBeans()) {
            String labels = String.format(
                "{area=\"%s\",id=\"%s\"}", pool.getType() == MemoryType.HEAP ? "heap" : "nonheap", pool.getName());
            text.append("jvm_memory_used_bytes").append(labels).append(' ').append((double) pool.getUsage().getUsed()).append('\n');
            text.append("jvm_memory_committed_bytes").append(labels).append(' ').append((double) pool.getUsage().getCommitted()).append('\n');
            text.append("jvm_memory_max_bytes").append(labels).append(' ').append((double) pool.getUsage().getMax()).append('\n');
        }
        for (BufferPoolMXBean pool : ManagementFactory.getPlatformMXBeans(BufferPoolMXBean.class)) {
            text.append(String.format("jvm_buffer_memory_used_bytes{id=\"%s\"} %s\n", pool.getName(), (double) pool.getMemoryUsed()));
        }
        PooledByteBufAllocator netty = PooledByteBufAllocator.DEFAULT;
        String labels = "{allocator_type=\"PooledByteBufAllocator\",id=\"" + netty.hashCode() + "\",memory_type=\"%s\"} %s\n";
        text.append(String.format("netty_allocator_memory_used" + labels, "heap", (double) netty.metric().usedHeapMemory()));
        text.append(String.format("netty_allocator_memory_used" + labels, "direct", (double) netty.metric().usedDirectMemory()));
        text.append("jvm_threads_live_threads ").append((double) ManagementFactory.getThreadMXBean().getThreadCount()).append('\n');
        return text.toString();
    }

    static void say(HttpExchange exchange, String form, String text) throws IOException {
        byte[] answer = text.getBytes(StandardCharsets.UTF_8);
        exchange.getResponseHeaders().set("Content-Type", form);
        exchange.sendResponseHeaders(200, answer.length);
        exchange.getResponseBody().write(answer);
        exchange.close();
    }
}
