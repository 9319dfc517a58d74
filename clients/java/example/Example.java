import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import com.trinity.price.v1.GetPriceRequest;
import com.trinity.price.v1.Price;
import com.trinity.price.v1.PriceServiceGrpc;
import com.trinity.price.v1.PriceServiceGrpc.PriceServiceBlockingStub;
import com.trinity.price.v1.WatchPricesRequest;
import com.trinity.price.v1.WatchPricesResponse;
import io.grpc.ChannelCredentials;
import io.grpc.Context;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.TlsChannelCredentials;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.MetadataUtils;
import java.io.File;
import java.io.IOException;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.function.Predicate;

/** Gets a price, reads an error, and follows prices through every cut of the connection. */
public final class Example {
  private static final int HEARTBEAT_MS = 1_000;
  private static final int OPENING_MS = 10_000;
  /** A refusal: asking again changes nothing. */
  private static final Set<Status.Code> REFUSALS =
      Set.of(
          Status.Code.INVALID_ARGUMENT,
          Status.Code.NOT_FOUND,
          Status.Code.PERMISSION_DENIED,
          Status.Code.UNAUTHENTICATED);

  private final PriceServiceBlockingStub stub;
  private final ScheduledExecutorService watchdog = Executors.newSingleThreadScheduledExecutor();
  private Map<String, Price> prices = new HashMap<>();
  private long epoch;
  private long sequence;

  private Example(PriceServiceBlockingStub stub) {
    this.stub = stub;
  }

  /** TLS with a CA, mutual TLS with a certificate too; plain without, for this machine only. */
  private static ManagedChannel channel() throws IOException {
    ChannelCredentials credentials = InsecureChannelCredentials.create();
    if (env("TRINITY_CA") != null) {
      TlsChannelCredentials.Builder tls =
          TlsChannelCredentials.newBuilder().trustManager(new File(env("TRINITY_CA")));
      if (env("TRINITY_CERT") != null) {
        tls.keyManager(new File(env("TRINITY_CERT")), new File(env("TRINITY_CERT_KEY")));
      }
      credentials = tls.build();
    }
    ManagedChannelBuilder<?> builder = Grpc.newChannelBuilder(env("TRINITY_ADDRESS"), credentials);
    if (env("TRINITY_SERVER_NAME") != null) {
      builder.overrideAuthority(env("TRINITY_SERVER_NAME"));
    }
    return builder.build();
  }

  /** The stub, with the API key in every call where there is one. */
  private static PriceServiceBlockingStub stub(ManagedChannel channel) {
    PriceServiceBlockingStub stub = PriceServiceGrpc.newBlockingStub(channel);
    if (env("TRINITY_KEY") == null) {
      return stub;
    }
    Metadata metadata = new Metadata();
    metadata.put(
        Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER),
        "Bearer " + env("TRINITY_KEY"));
    return stub.withInterceptors(MetadataUtils.newAttachHeadersInterceptor(metadata));
  }

  /** The error's own word ("STALE_PRICE"), and when to try again, milliseconds; 0 for never. */
  private static Map.Entry<String, Long> reason(StatusRuntimeException error) throws IOException {
    String word = error.getStatus().getCode().name();
    long retryMs = 0;
    com.google.rpc.Status said = StatusProto.fromThrowable(error);
    if (said != null) {
      for (com.google.protobuf.Any detail : said.getDetailsList()) {
        if (detail.is(ErrorInfo.class)) {
          word = detail.unpack(ErrorInfo.class).getReason();
        } else if (detail.is(RetryInfo.class)) {
          com.google.protobuf.Duration delay = detail.unpack(RetryInfo.class).getRetryDelay();
          retryMs = delay.getSeconds() * 1_000 + delay.getNanos() / 1_000_000;
        }
      }
    }
    return Map.entry(word, retryMs);
  }

  /** Follows prices until {@code told} returns false; what is lost or silent is opened again and resumed. */
  private void watch(List<String> assets, Predicate<Price> told) throws InterruptedException {
    for (int failures = 0; ; failures++) {
      long before = sequence;
      try {
        if (!follow(assets, told)) {
          return;
        }
      } catch (StatusRuntimeException error) {
        if (REFUSALS.contains(error.getStatus().getCode())) {
          throw error;
        }
      }
      failures = sequence == before ? failures : 0;
      Thread.sleep(ThreadLocalRandom.current().nextInt(50 << Math.min(failures, 5)));
    }
  }

  /** Reads one stream; true when it ended and another should follow. */
  private boolean follow(List<String> assets, Predicate<Price> told) {
    Context.CancellableContext context = Context.current().withCancellation();
    Context outer = context.attach();
    ScheduledFuture<?> silence = null;
    try {
      WatchPricesRequest request =
          WatchPricesRequest.newBuilder()
              .addAllAssets(assets)
              .setHeartbeatMs(HEARTBEAT_MS)
              .setResumeEpoch(epoch)
              .setResumeSequence(sequence)
              .build();
      Map<String, Price> staged = new HashMap<>();
      silence = cancelAfter(context, OPENING_MS);
      Iterator<WatchPricesResponse> batches = stub.watchPrices(request);
      while (batches.hasNext()) {
        WatchPricesResponse batch = batches.next();
        silence.cancel(false);
        silence = cancelAfter(context, 3 * HEARTBEAT_MS);
        take(batch, staged);
        for (Price price : batch.getPricesList()) {
          if (!told.test(price)) {
            return false;
          }
        }
      }
      return true;
    } finally {
      if (silence != null) {
        silence.cancel(false);
      }
      context.detach(outer);
      context.cancel(null);
    }
  }

  /** Applies one batch: a snapshot of another run of the service replaces everything once it is whole. */
  private void take(WatchPricesResponse batch, Map<String, Price> staged) {
    boolean anew = batch.getSnapshot() && batch.getEpoch() != epoch;
    Map<String, Price> into = anew ? staged : prices;
    for (Price price : batch.getPricesList()) {
      into.put(price.getAsset(), price);
    }
    if (batch.getSnapshot() && !batch.getSnapshotComplete()) {
      return;
    }
    if (anew) {
      prices = staged;
      epoch = batch.getEpoch();
    }
    sequence = batch.getSequence();
  }

  private ScheduledFuture<?> cancelAfter(Context.CancellableContext context, long ms) {
    return watchdog.schedule(() -> context.cancel(null), ms, TimeUnit.MILLISECONDS);
  }

  private static String env(String name) {
    return System.getenv(name);
  }

  public static void main(String[] arguments) throws Exception {
    ManagedChannel channel = channel();
    Example example = new Example(stub(channel));
    try {
      PriceServiceBlockingStub calls = example.stub.withDeadlineAfter(5, TimeUnit.SECONDS);
      Price btc =
          calls
              .getPrice(GetPriceRequest.newBuilder().setAsset("BTC").setMinSources(1).build())
              .getPrice();
      System.out.println("price " + btc.getAsset() + " " + btc.getPrice() + " " + btc.getState());

      try {
        calls.getPrice(GetPriceRequest.newBuilder().setAsset("NOPE").build());
      } catch (StatusRuntimeException error) {
        Map.Entry<String, Long> said = reason(error);
        System.out.println(
            "error " + said.getKey() + " " + error.getStatus().getCode() + " " + said.getValue());
      }

      String changes = env("TRINITY_CHANGES"); // none: for ever
      int[] left = {changes == null ? 0 : Integer.parseInt(changes)};
      example.watch(
          List.of("BTC", "ETH"),
          price -> {
            System.out.println("change " + price.getAsset() + " " + price.getPrice());
            return --left[0] != 0;
          });
    } finally {
      example.watchdog.shutdownNow();
      channel.shutdownNow().awaitTermination(5, TimeUnit.SECONDS);
    }
  }
}
