// A JVM that leaks memory beside its heap, as a ByteBuf that nobody releases does, and says over HTTP what it knows of it:
//   java Leak.java PORT BYTES-PER-TICK TICK-MILLISECONDS
// `{"used": …, "limit": …}` are the counter and its limit; the heap stays where it is.
import com.sun.management.HotSpotDiagnosticMXBean;
import com.sun.net.httpserver.HttpServer;
import java.lang.management.ManagementFactory;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicLong;

public class Leak {
    public static void main(String[] arguments) throws Exception {
        int port = Integer.parseInt(arguments[0]);
        int size = Integer.parseInt(arguments[1]);
        int pause = Integer.parseInt(arguments[2]);
        long limit = Long.parseLong(
            ManagementFactory.getPlatformMXBean(HotSpotDiagnosticMXBean.class).getVMOption("MaxDirectMemorySize").getValue());
        AtomicLong used = new AtomicLong();
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 0);
        server.createContext("/memory", exchange -> {
            byte[] answer = ("{\"used\": " + used.get() + ", \"limit\": " + limit + "}").getBytes();
            exchange.sendResponseHeaders(200, answer.length);
            exchange.getResponseBody().write(answer);
            exchange.close();
        });
        server.start();
        List<ByteBuffer> unreleased = new ArrayList<>();
        while (true) {
            if (size > 0) {
                ByteBuffer buffer = ByteBuffer.allocateDirect(size);
                for (int at = 0; at < size; at += 4096) {
                    buffer.put(at, (byte) 1);
                }
                unreleased.add(buffer);
                used.addAndGet(size);
            }
            Thread.sleep(pause);
        }
    }
}
